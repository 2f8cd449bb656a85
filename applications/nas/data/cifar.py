"""CIFAR-10 and CIFAR-100 from their original files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from applications.nas.data._vision import load_torchvision
from applications.nas.data.augment import Augment
from applications.nas.data.split import halves_and_test
from applications.nas.data.task import Images, Task
from mlo import ConfigError, DataError

# What DARTS (10 classes) and P-DARTS (100 classes) normalise with, digit for digit.
STATISTICS = {
    10: ((0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)),
    100: ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}


def cifar_task(
    root: str | Path,
    *,
    classes: Literal[10, 100] = 10,
    download: bool = False,
    seed: int,
    subset: int | None = None,
    augment: Augment | None = Augment(),
) -> Task:
    """Read CIFAR through torchvision.

    The official train set is cut into two halves, class by class and at random (DARTS takes the first and the last
    25,000 in file order).

    Args:
        root: Folder that holds `cifar-10-batches-py` or `cifar-100-python`.
        classes: 10 or 100.
        download: Whether to fetch the files if they are missing.
        seed: Decides which train image goes to which half.
        subset: Images to keep in each of the three parts, class-balanced; None for all.
        augment: What is done to training images.

    Returns:
        The task "cifar10" or "cifar100", 3x32x32 uint8.

    Raises:
        ConfigError: `classes` is neither 10 nor 100.
        DataError: The files are missing or damaged, or the subset is too large.
    """
    if classes not in STATISTICS:
        raise ConfigError(f"classes is {classes}: CIFAR has 10 or 100")
    train, names = _read(Path(root), classes, train=True, download=download)
    test, _ = _read(Path(root), classes, train=False, download=download)
    parts = halves_and_test(train.labels, test.labels, seed=seed, subset=subset)
    mean, std = STATISTICS[classes]
    first, second, last = train.take(parts[0]), train.take(parts[1]), test.take(parts[2])
    return Task(f"cifar{classes}", names, first, second, last, mean, std, augment)


def _read(root: Path, classes: int, *, train: bool, download: bool) -> tuple[Images, tuple[str, ...]]:
    datasets = load_torchvision().datasets
    source: Any = datasets.CIFAR10 if classes == 10 else datasets.CIFAR100
    try:
        data = source(str(root), train=train, download=download)
    except (RuntimeError, OSError, EOFError) as error:
        raise DataError(
            f"{root / source.base_folder}: no complete CIFAR-{classes} here ({error}): pass --data.download or "
            f"download=True, or unpack {source.url} into {root}"
        ) from error
    pixels = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
    return Images(pixels, torch.tensor(data.targets, dtype=torch.int64)), tuple(data.classes)
