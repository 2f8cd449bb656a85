"""What a search is given: labelled images, in three parts that share no image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from applications.nas.data.augment import Augment
from applications.nas.objective import AbstractObjective, Classification
from mlo import DataError


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images of one size, held in memory.

    Attributes:
        pixels: (N, C, H, W), uint8 from 0 to 255, or floating point on the scale that `mean` and `std` refer to.
        labels: (N,) int64, from 0.
    """

    pixels: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        """Refuse what is not a set of labelled images."""
        pixels, labels = self.pixels, self.labels
        if pixels.ndim != 4 or labels.ndim != 1:
            raise DataError(f"pixels {tuple(pixels.shape)}, labels {tuple(labels.shape)}: give (N, C, H, W) and (N,)")
        if len(pixels) != len(labels):
            raise DataError(f"{len(pixels)} images but {len(labels)} labels: give one label for each image")
        if pixels.numel() == 0:
            raise DataError(f"pixels of shape {tuple(pixels.shape)} are empty: give at least one image")
        if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
            raise DataError(f"pixels are {pixels.dtype}: give uint8 from 0 to 255, or a floating point type")
        if labels.dtype != torch.int64:
            raise DataError(f"labels are {labels.dtype}: give int64")
        if int(labels.min()) < 0:
            raise DataError(f"label {int(labels.min())} is negative: number the classes from 0")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of each image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def take(self, indices: Tensor) -> Images:
        """Copy the images at `indices`, an int64 vector, in that order."""
        return Images(self.pixels[indices], self.labels[indices])

    def to(self, device: torch.device | str) -> Images:
        """Move both tensors to `device`."""
        return Images(self.pixels.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class Task:
    """A classification task, cut for a bilevel search.

    Attributes:
        name: How reports call the task.
        classes: Name of each label.
        train: What the weights are fitted to in a search.
        valid: What the architecture is fitted to in a search; the evaluation trains on both parts.
        test: Seen by neither.
        mean: Per channel; of pixels / 255 where they are uint8.
        std: Per channel, on the same scale.
        augment: What is done to training images, or None.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    valid: Images
    test: Images
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: Augment | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not fit each other or the classes."""
        for part, images in (("train", self.train), ("valid", self.valid), ("test", self.test)):
            where = f"task {self.name!r}, {part}"
            if images.shape != self.train.shape:
                raise DataError(f"{where}: images are {images.shape}, train's are {self.train.shape}: give one size")
            if int(images.labels.max()) >= len(self.classes):
                raise DataError(
                    f"{where}: label {int(images.labels.max())} but {len(self.classes)} classes: name every class"
                )
        if len(self.classes) < 2:
            raise DataError(f"task {self.name!r}: one class leaves nothing to tell apart: give two or more")
        check_statistics(self.mean, self.std, channels=self.train.shape[0])

    @property
    def objective(self) -> AbstractObjective:
        """What the task asks of a network."""
        return Classification(len(self.classes))


def check_statistics(mean: Sequence[float], std: Sequence[float], *, channels: int) -> None:
    """Refuse a mean or a standard deviation that cannot normalise images.

    Args:
        mean: One number for each channel.
        std: One positive number for each channel.
        channels: How many channels the images have.

    Raises:
        DataError: A length differs from `channels`, or a standard deviation is not positive.
    """
    if len(mean) != channels or len(std) != channels:
        raise DataError(f"{len(mean)} means and {len(std)} deviations for {channels} channels: give one for each")
    if not all(value > 0 for value in std):
        raise DataError(f"std {tuple(std)} has an entry that is not positive: a constant channel takes 1.0")


def channel_statistics(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel.

    Args:
        pixels: (N, C, H, W), uint8 (taken as a fraction of 255) or floating point.

    Returns:
        The means and the deviations; the deviation of a constant channel is given as 1.
    """
    pairs = [_moments(pixels[:, channel].flatten()) for channel in range(pixels.shape[1])]
    return tuple(mean for mean, _ in pairs), tuple(std or 1.0 for _, std in pairs)


def _moments(values: Tensor) -> tuple[float, float]:
    if values.dtype == torch.uint8:
        # 256 counts stand for all pixels: exact, and without a float64 copy of the data set.
        weight = torch.bincount(values, minlength=256).double() / len(values)
        level = torch.arange(256, dtype=torch.float64) / 255
        mean = (weight * level).sum()
        return float(mean), float((weight * (level - mean).square()).sum().sqrt())
    double = values.double()
    return float(double.mean()), float(double.std(correction=0))
