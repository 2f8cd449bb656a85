"""ImageNet, as PC-DARTS searches on it and as all evaluations train on it."""

from __future__ import annotations

from pathlib import Path

import torch

from applications.nas.data.augment import FileAugment
from applications.nas.data.image_folder import as_files
from applications.nas.data.listing import list_parts
from applications.nas.data.split import Split, check_covered, stratified_split
from applications.nas.data.task import Task
from applications.nas.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from mlo import ConfigError


def imagenet_task(
    root: str | Path,
    *,
    seed: int,
    side: int = 224,
    train_share: float = 0.1,
    valid_share: float = 0.025,
    augment: FileAugment | None = FileAugment(),
    workers: int = 4,
) -> Task:
    """Take the official layout ROOT/{train,val}/CLASS/IMAGE as one task; images are decoded when a batch needs them.

    Args:
        root: The folder that holds `train` and `val`.
        seed: Decides which image goes to which part.
        side: Height and width in pixels that a network sees.
        train_share: Share of each class of the official train set that the weights are fitted to in a search.
        valid_share: Share that the architecture is fitted to; no image is in both.
        augment: What is done to training images.
        workers: Processes that decode; 0 to do it in this one.

    Returns:
        The task "imagenet"; its part "all" is the whole official train set, its test the official validation set.

    Raises:
        ConfigError: The shares are not positive, or larger than the whole.
        DataError: A folder or a class is missing, empty or different in the two parts; a class is too small.

    Source: PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search (Xu, Xie, Zhang, Chen, Qi,
    Tian, Xiong, 2020), for the shares.
    """
    rest = 1 - train_share - valid_share
    if not (train_share > 0 and valid_share > 0 and rest > -1e-9):
        shares = f"train_share={train_share}, valid_share={valid_share}"
        raise ConfigError(f"imagenet: {shares}: give positive shares that sum to at most 1")
    train, test = list_parts(Path(root), ("train", "val"))
    fractions = (train_share, valid_share, max(rest, 0.0))
    first, second, _ = stratified_split(train.labels, fractions, torch.Generator().manual_seed(seed))
    split = Split("shares", seed, ("train", "train", "val"), (first, second, torch.arange(len(test.labels))))
    check_covered(split, train.labels, train.classes, str(train.root / "train"))
    everything, tests = as_files(train, side, workers), as_files(test, side, workers)
    return Task(
        name="imagenet",
        classes=train.classes,
        train=everything.take(first),
        valid=everything.take(second),
        test=tests,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        augment=augment,
        everything=everything,
        split=split,
    )
