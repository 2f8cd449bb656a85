"""Seeded, class-balanced choices of images, made on the labels alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from mlo import ConfigError, DataError


def stratified_split(labels: Tensor, fractions: Sequence[float], generator: torch.Generator) -> tuple[Tensor, ...]:
    """Cut a data set into parts that all have the classes in the same proportion.

    Args:
        labels: (N,) int64.
        fractions: Share of each part; they sum to 1.
        generator: Decides which image goes where.

    Returns:
        For each part its int64 indices, ascending: disjoint, and together all of 0..N-1.

    Raises:
        ConfigError: The fractions are not shares of a whole.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ConfigError(f"fractions {tuple(fractions)}: give shares that are not negative and sum to 1")
    parts: list[list[Tensor]] = [[] for _ in fractions]
    for label in labels.unique().tolist():
        members = _shuffled(labels, label, generator)
        ends = [round(share * len(members)) for share in accumulate(fractions)]
        for part, start, end in zip(parts, [0, *ends], ends, strict=False):
            part.append(members[start:end])
    return tuple(torch.cat(part).sort().values for part in parts)


def balanced_subset(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose a few images, of each class equally many (one more of the first classes if `count` does not divide).

    Args:
        labels: (N,) int64.
        count: How many images to choose.
        generator: Decides which.

    Returns:
        (count,) int64 indices, ascending.

    Raises:
        DataError: There are too few images of some class, or fewer places than classes.
    """
    classes = labels.unique().tolist()
    if count < len(classes):
        raise DataError(f"a subset of {count} images for {len(classes)} classes: take at least one of each class")
    chosen = []
    for rank, label in enumerate(classes):
        share = count // len(classes) + (rank < count % len(classes))
        members = _shuffled(labels, label, generator)
        if len(members) < share:
            raise DataError(
                f"a subset of {count} images needs {share} of class {label}, which has {len(members)}: take fewer"
            )
        chosen.append(members[:share])
    return torch.cat(chosen).sort().values


def halves_and_test(
    train_labels: Tensor, test_labels: Tensor, *, seed: int, subset: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the three parts of a task whose data come as an official train and test set.

    Args:
        train_labels: (N,) int64, of the official train set.
        test_labels: (M,) int64, of the official test set.
        seed: Fixes all choices.
        subset: Images to keep in each part, or None for all.

    Returns:
        Indices into the train set for weights and for the architecture, and into the test set.
    """
    generator = torch.Generator().manual_seed(seed)
    first, second = stratified_split(train_labels, (0.5, 0.5), generator)
    test = torch.arange(len(test_labels))
    if subset is None:
        return first, second, test
    return (
        first[balanced_subset(train_labels[first], subset, generator)],
        second[balanced_subset(train_labels[second], subset, generator)],
        balanced_subset(test_labels, subset, generator),
    )


def _shuffled(labels: Tensor, label: int, generator: torch.Generator) -> Tensor:
    members = (labels == label).nonzero().squeeze(1)
    return members[torch.randperm(len(members), generator=generator)]
