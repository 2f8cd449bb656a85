"""CIFAR-10 and CIFAR-100 from their original files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from applications.nas.data._vision import load_torchvision
from applications.nas.data.augment import Augment
from applications.nas.data.memory import Images
from applications.nas.data.split import SplitKind
from applications.nas.data.task import Task
from applications.nas.data.two_sets import memory_task
from mlo import ConfigError, DataError

# What DARTS (10 classes) and P-DARTS (100 classes) normalize with, digit for digit.
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
    split: SplitKind = "halves",
    subset: int | None = None,
    statistics: Literal["own", "cifar10"] = "own",
    augment: Augment | None = Augment(),
) -> Task:
    """Read CIFAR through torchvision, which compares every file with its known checksum.

    Args:
        root: Folder that holds `cifar-10-batches-py` or `cifar-100-python`.
        classes: 10 or 100.
        download: Whether to fetch the files if they are missing.
        seed: Decides which image goes to which part.
        split: How the 50,000 train and 10,000 test images become three parts: two random halves and the test images,
            22,500 + 22,500 + 5,000 of the train images, or the halves of DARTS in file order and the test images.
        subset: Images to keep in each of the three parts, class-balanced; None for all.
        statistics: Mean and std of the data set itself, or those of CIFAR-10 for both, as PC-DARTS has it.
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
    return memory_task(
        f"cifar{classes}",
        names,
        train,
        test,
        seed=seed,
        split=split,
        subset=subset,
        statistics=STATISTICS[classes if statistics == "own" else 10],
        augment=augment,
    )


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
