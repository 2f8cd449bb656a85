"""Small tasks of three kinds from scikit-learn's handwritten digits: no download, no torchvision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from applications.nas.data.memory import Images
from applications.nas.data.split import Split, stratified_split
from applications.nas.data.statistics import channel_statistics
from applications.nas.data.task import Task
from applications.nas.objective import AbstractObjective, Classification, DensePrediction, Regression
from mlo import ConfigError

DigitsTask = Literal["digits", "loops", "slant", "denoise"]
# Closed loops in each written digit, the four being written open.
LOOPS = (1, 0, 0, 0, 0, 0, 1, 0, 2, 1)
NOISE = 0.5
"""Standard deviation of the noise of "denoise", beside pixels from 0 to 1."""
_SHARES = (0.35, 0.35, 0.30)


@dataclass(frozen=True)
class _Kind:
    """What one task makes of images and digits.

    Attributes:
        objective: What is asked of a network.
        classes: Names of the labels, if there are any.
        make: From pixels, digits and a generator to inputs and targets.
        scaled: Whether targets are shifted and scaled so that they have mean 0 and deviation 1.
    """

    objective: AbstractObjective
    classes: tuple[str, ...]
    make: Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
    scaled: bool = False


def digits_tasks(seed: int, names: Sequence[DigitsTask] = ("digits", "loops")) -> tuple[Task, ...]:
    """Make related tasks on disjoint shares of the 1797 digits (8x8, one gray channel).

    - "digits" asks which of the ten digits an image shows.
    - "loops" is coarser: how many closed loops the digit is written with (none: 1, 2, 3, 4, 5, 7; one: 0, 6, 9;
      two: 8).
    - "slant" is a regression: how far the writing leans to a side; see `slant`.
    - "denoise" is a dense prediction: the clean image from one with added noise.

    An encoder that serves one serves the others. All cuts keep the proportions of the ten digits. The targets of the
    last two are shifted and scaled to mean 0 and deviation 1 over train and valid together, so an RMSE of 1 is that of
    predicting one number always.

    Args:
        seed: Decides which image goes where, and the noise.
        names: Which tasks, each at most once; with K of them, each gets a K-th of the images.

    Returns:
        The tasks in that order, each cut into about 35 % train, 35 % valid and 30 % test; pixels are float32
        from 0 to 1 before noise, and not augmented (a mirrored digit is no digit, and it leans the other way).

    Raises:
        ConfigError: scikit-learn is not installed, or the names are not as above.
    """
    if not names or len(set(names)) < len(names) or not set(names) <= set(_KINDS):
        raise ConfigError(f"tasks {tuple(names)}: name some of {', '.join(_KINDS)}, each at most once")
    pixels, digit = _load()
    generator = torch.Generator().manual_seed(seed)
    shares = stratified_split(digit, [1 / len(names)] * len(names), generator)
    return tuple(_task(name, pixels, digit, share, seed, generator) for name, share in zip(names, shares, strict=True))


def slant(pixels: Tensor) -> Tensor:
    """Measure how far writing leans to the left: the shift of columns for each row further down.

    With x and y the column and row of a pixel, counted from the center of the ink, and all means weighted by ink, this
    is mean(x y) / mean(y y), the slope of the straight line through the ink that gives x from y.

    Args:
        pixels: (N, 1, H, W), 0 where there is no ink.

    Returns:
        (N,) float64; 0 where all ink is in one row, or there is none.
    """
    ink = pixels[:, 0].double()
    total = ink.sum((1, 2)).clamp_min(1e-12)
    rows, columns = (torch.arange(extent, dtype=torch.float64) for extent in ink.shape[1:])
    y = rows - (ink.sum(2) @ rows / total)[:, None]
    x = columns - (ink.sum(1) @ columns / total)[:, None]
    both = torch.einsum("nhw,nh,nw->n", ink, y, x)
    return both / torch.einsum("nhw,nh->n", ink, y.square()).clamp_min(1e-12)


def _task(name: str, pixels: Tensor, digit: Tensor, share: Tensor, seed: int, generator: torch.Generator) -> Task:
    kind = _KINDS[name]
    parts = stratified_split(digit[share], _SHARES, generator)
    inputs, targets = kind.make(pixels[share], digit[share], generator)
    fitted = torch.cat(parts[:2])
    if kind.scaled:
        shift, scale = targets[fitted].mean(), targets[fitted].std(correction=0)
        targets = ((targets - shift) / scale).float()
    everything = Images(inputs, targets)
    train, valid, test = (everything.take(part) for part in parts)
    mean, std = channel_statistics(inputs[fitted])
    first, second, third = (share[part] for part in parts)
    split = Split("shares", seed, ("digits", "digits", "digits"), (first, second, third))
    return Task(name, kind.classes, train, valid, test, mean, std, objective=kind.objective, split=split)


def _load() -> tuple[Tensor, Tensor]:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ConfigError("scikit-learn is not installed, and the digits lie in it: install scikit-learn") from error
    bunch = load_digits()
    pixels = torch.tensor(bunch.images, dtype=torch.float32).div_(16).unsqueeze(1)
    return pixels, torch.tensor(bunch.target, dtype=torch.int64)


def _noisy(pixels: Tensor, digit: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return pixels + NOISE * torch.randn(pixels.shape, generator=generator), pixels.double()


_KINDS = {
    "digits": _Kind(Classification(10), tuple("0123456789"), lambda pixels, digit, _: (pixels, digit)),
    "loops": _Kind(
        Classification(3), ("none", "one", "two"), lambda pixels, digit, _: (pixels, torch.tensor(LOOPS)[digit])
    ),
    "slant": _Kind(Regression(), (), lambda pixels, digit, _: (pixels, slant(pixels)[:, None]), scaled=True),
    "denoise": _Kind(DensePrediction(1, (8, 8)), (), _noisy, scaled=True),
}
