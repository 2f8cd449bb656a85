"""What all sets of images with targets have in common, wherever the images lie."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from applications.nas.data.augment import Augment, FileAugment
from applications.nas.data.batches import AbstractBatches
from applications.nas.launch import Ranks


@dataclass(frozen=True)
class Streaming:
    """How batches are made of images.

    Attributes:
        size: Images in a batch, of all ranks together.
        seed: Fixes order and augmentation of all epochs.
        mean: Subtracted, per channel; on the scale of pixels / 255 where they are bytes.
        std: Divided by, per channel.
        augment: What is done to the images, or None.
        shuffle: Whether each epoch takes a new order.
        drop_last: Whether a last, smaller batch is left out.
        device: Where the batches end.
        workers: Processes of each rank that decode image files; None for what the images say, 0 for none beside this
            one.
        ranks: Whose share of each batch is given.
    """

    size: int
    seed: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: Augment | FileAugment | None = None
    shuffle: bool = True
    drop_last: bool = False
    device: torch.device | str = "cpu"
    workers: int | None = None
    ranks: Ranks = Ranks()


class AbstractImages(ABC):
    """Images of one size with one target each.

    Attributes:
        labels: The targets of all images, in memory: (N,) int64 for classes, floating point otherwise.
    """

    labels: Tensor

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of each image."""

    @abstractmethod
    def take(self, indices: Tensor) -> AbstractImages:
        """Return the images at `indices`, an int64 vector, in that order."""

    @abstractmethod
    def join(self, other: AbstractImages) -> AbstractImages:
        """Return these images, then the others.

        Raises:
            DataError: If the others are not of the same kind.
        """

    @abstractmethod
    def stream(self, how: Streaming) -> AbstractBatches:
        """Return batches of all images.

        Raises:
            MLOError: If what is asked for does not go with these images.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a SHA-256, in hexadecimal, that changes if an image, a target or the order does."""
