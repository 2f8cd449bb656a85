"""A task from an official train and test set in memory."""

from __future__ import annotations

import torch

from applications.nas.data.augment import Augment
from applications.nas.data.memory import Images
from applications.nas.data.split import SplitKind, check_covered, cut
from applications.nas.data.statistics import channel_statistics
from applications.nas.data.task import Task
from mlo import DataError

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


def memory_task(
    name: str,
    classes: tuple[str, ...],
    train: Images,
    test: Images,
    *,
    seed: int,
    split: SplitKind,
    subset: int | None,
    statistics: Statistics | None = None,
    augment: Augment | None = None,
) -> Task:
    """Cut two sets into the three parts of a classification task.

    Args:
        name: How reports call the task.
        classes: Name of each label.
        train: The official train set.
        test: The official test set.
        seed: Decides which image goes to which part.
        split: How two sets become three parts.
        subset: Images to keep in each of the three parts, class-balanced; None for all.
        statistics: Mean and standard deviation of each channel; None for those of train and valid together.
        augment: What is done to training images.

    Raises:
        DataError: A class would have no image in some part, or the subset is too large.
    """
    if train.labels.dtype != torch.int64 or test.labels.dtype != torch.int64:
        raise DataError(f"{name}: labels are {train.labels.dtype} and {test.labels.dtype}: give int64, for classes")
    for part, images in (("train", train), ("test", test)):
        largest = int(images.labels.max())
        if largest >= len(classes):  # before it is counted to
            raise DataError(f"{name}, {part}: label {largest} is none of {len(classes)} classes: number them from 0")
    chosen = cut(train.labels, test.labels, kind=split, seed=seed, subset=subset)
    check_covered(chosen, train.labels, classes, name)
    sources = [train if source == "train" else test for source in chosen.sources]
    first, second, third = (images.take(part) for images, part in zip(sources, chosen.parts, strict=True))
    mean, std = statistics or channel_statistics(torch.cat([first.pixels, second.pixels]))
    return Task(name, classes, first, second, third, mean, std, augment, split=chosen)
