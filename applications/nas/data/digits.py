"""Two small tasks from scikit-learn's handwritten digits: no download, no torchvision."""

from __future__ import annotations

import torch
from torch import Tensor

from applications.nas.data.split import stratified_split
from applications.nas.data.task import Images, Task, channel_statistics
from mlo import ConfigError

# Closed loops in each written digit, the four being written open.
LOOPS = (1, 0, 0, 0, 0, 0, 1, 0, 2, 1)
_SHARES = (0.35, 0.35, 0.30)


def digits_tasks(seed: int) -> tuple[Task, Task]:
    """Make two related tasks on disjoint halves of the 1797 digits (8x8, one grey channel).

    The first, "digits", asks which of the ten digits an image shows. The second, "loops", is coarser: how many closed
    loops the digit is written with (none: 1, 2, 3, 4, 5, 7; one: 0, 6, 9; two: 8). An encoder that serves one serves
    the other. All cuts keep the proportions of the ten digits.

    Args:
        seed: Decides which image goes where.

    Returns:
        The tasks "digits" and "loops", each cut into about 35 % train, 35 % valid and 30 % test; pixels are float32
        from 0 to 1 and not augmented (a mirrored digit is no digit).

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    pixels, digit = _load()
    generator = torch.Generator().manual_seed(seed)
    first, second = stratified_split(digit, (0.5, 0.5), generator)
    names = tuple(str(number) for number in range(10))
    return (
        _task("digits", names, pixels[first], digit[first], torch.arange(10), generator),
        _task("loops", ("none", "one", "two"), pixels[second], digit[second], torch.tensor(LOOPS), generator),
    )


def _task(
    name: str, classes: tuple[str, ...], pixels: Tensor, digit: Tensor, meaning: Tensor, generator: torch.Generator
) -> Task:
    everything = Images(pixels, meaning[digit])
    train, valid, test = stratified_split(digit, _SHARES, generator)
    mean, std = channel_statistics(pixels[torch.cat([train, valid])])
    return Task(name, classes, everything.take(train), everything.take(valid), everything.take(test), mean, std)


def _load() -> tuple[Tensor, Tensor]:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ConfigError("scikit-learn is not installed, and the digits lie in it: install scikit-learn") from error
    bunch = load_digits()
    pixels = torch.tensor(bunch.images, dtype=torch.float32).div_(16).unsqueeze(1)
    return pixels, torch.tensor(bunch.target, dtype=torch.int64)
