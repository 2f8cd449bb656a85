"""Seeded choices of images, balanced over the classes; made on the targets alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, get_args

import torch
from torch import Tensor

from mlo import ConfigError, DataError

SplitKind = Literal["halves", "ablation", "file"]
"""How an official train and test set become train, valid and test: random halves and the official test set; 45 %, 45 %
and 10 % of the official train set, the official test set unseen; or the first and the last half in file order, as in
DARTS, and the official test set (for sets that are not sorted by class)."""


@dataclass(frozen=True, eq=False)
class Split:
    """Which images the three parts of a task took.

    Attributes:
        kind: How the images were chosen.
        seed: Of the choice.
        sources: For train, valid and test, which set its indices count.
        parts: For each the int64 indices.
    """

    kind: str
    seed: int
    sources: tuple[str, str, str]
    parts: tuple[Tensor, Tensor, Tensor]


def stratified_split(labels: Tensor, fractions: Sequence[float], generator: torch.Generator) -> tuple[Tensor, ...]:
    """Cut a data set into parts that all have the classes in the same proportion.

    Args:
        labels: (N,) int64; or floating point targets of N images, which count as one class.
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
    for members in _strata(labels):
        shuffled = members[torch.randperm(len(members), generator=generator)]
        ends = [round(share * len(members)) for share in accumulate(fractions)]
        for part, start, end in zip(parts, [0, *ends], ends, strict=False):
            part.append(shuffled[start:end])
    return tuple(torch.cat(part).sort().values for part in parts)


def balanced_subset(labels: Tensor, count: int, generator: torch.Generator, names: Sequence[str] = ()) -> Tensor:
    """Choose a few images, of each class equally many (one more of the first classes if `count` does not divide).

    Args:
        labels: (N,) int64; or floating point targets of N images, which count as one class.
        count: How many images to choose.
        generator: Decides which.
        names: Of the classes, for errors; left out: their numbers.

    Returns:
        (count,) int64 indices, ascending.

    Raises:
        DataError: There are too few images of some class, or fewer places than classes.
    """
    if len(labels) == 0:
        raise DataError(f"a subset of {count} images of a part that has none: give more images, or split another way")
    strata = _strata(labels)
    if count < len(strata):
        raise DataError(f"a subset of {count} images for {len(strata)} classes: take at least one of each class")
    chosen = []
    for rank, members in enumerate(strata):
        share = count // len(strata) + (rank < count % len(strata))
        if len(members) < share:
            label = "" if labels.is_floating_point() else f" of class {_called(int(labels[members[0]]), names)}"
            most = min(map(len, strata)) * len(strata)
            fix = f"take at most {most} (--data.subset), or None for all images"
            raise DataError(f"a subset of {count} images needs {share}{label}, which has {len(members)}: {fix}")
        chosen.append(members[torch.randperm(len(members), generator=generator)[:share]])
    return torch.cat(chosen).sort().values


def cut(
    train: Tensor, test: Tensor, *, kind: SplitKind, seed: int, subset: int | None, names: Sequence[str] = ()
) -> Split:
    """Choose the three parts of a task whose data come as an official train and test set.

    Args:
        train: Targets of the official train set.
        test: Targets of the official test set.
        kind: How the two become three.
        seed: Fixes all choices.
        subset: Images to keep in each part, class-balanced; None for all.
        names: Of the classes, for errors; left out: their numbers.

    Returns:
        The split; its indices count the images of the official sets.

    Raises:
        DataError: A class would have no image in some part, or the subset is too large.
    """
    if kind not in get_args(SplitKind):
        raise ConfigError(f"split: {kind!r} is none; choose one of {', '.join(get_args(SplitKind))}")
    generator = torch.Generator().manual_seed(seed)
    if kind == "ablation":
        first, second, last = stratified_split(train, (0.45, 0.45, 0.1), generator)
        source, targets = "train", train
    else:
        halves = torch.arange(len(train)).tensor_split([len(train) // 2])
        first, second = halves if kind == "file" else stratified_split(train, (0.5, 0.5), generator)
        source, targets, last = "test", test, torch.arange(len(test))
    if subset is not None:
        kept = []
        for part, labels, indices in (("train", train, first), ("valid", train, second), ("test", targets, last)):
            try:
                kept.append(indices[balanced_subset(labels[indices], subset, generator, names)])
            except DataError as error:
                raise DataError(f"{part}: {error}") from error
        first, second, last = kept
    return Split(kind, seed, ("train", "train", source), (first, second, last))


def check_covered(split: Split, train: Tensor, classes: Sequence[str], where: str) -> None:
    """Refuse a split with a part of the train set in which a class has no image.

    Args:
        split: The split.
        train: (N,) int64 classes of the official train set.
        classes: Their names.
        where: What to call the data in an error.

    Raises:
        DataError: There is such a class.
    """
    for part, source, indices in zip(("train", "valid", "test"), split.sources, split.parts, strict=True):
        if source == "train":
            for label in (train[indices].bincount(minlength=len(classes)) == 0).nonzero().flatten().tolist():
                count = int((train == label).sum())
                images = "a single image" if count == 1 else f"{count} images"
                raise DataError(
                    f"{where}/{classes[label]}: {images} cannot be cut into all parts (the split {split.kind!r} leaves "
                    f"none for {part}): add others, or split in another way"
                )


def as_ranges(indices: Tensor) -> str:
    """Write ascending indices in short, such as "0-2 5 7-9"."""
    if len(indices) == 0:
        return ""
    ends = ((indices.diff() != 1).nonzero().flatten() + 1).tolist()
    runs = zip([0, *ends], [*ends, len(indices)], strict=True)
    bounds = [(int(indices[start]), int(indices[end - 1])) for start, end in runs]
    return " ".join(str(low) if low == high else f"{low}-{high}" for low, high in bounds)


def _called(label: int, names: Sequence[str]) -> str:
    return repr(names[label]) if names else str(label)


def _strata(labels: Tensor) -> list[Tensor]:
    """Return the images of each class that occurs, or all of them if there are no classes."""
    if labels.is_floating_point():
        return [torch.arange(len(labels))]
    counts = labels.unique(return_counts=True)[1]
    return list(labels.argsort(stable=True).split(counts.tolist()))
