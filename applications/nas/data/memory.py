"""Images that are held in memory, and mini-batches of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from applications.nas.data.augment import Augment, FileAugment, crop_and_flip, cut_out
from applications.nas.data.batches import AbstractBatches, share
from applications.nas.data.images import AbstractImages, Streaming
from applications.nas.data.statistics import check_statistics
from applications.nas.launch import Ranks
from mlo import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class Images(AbstractImages):
    """Images of one size with one target each, held in memory.

    Attributes:
        pixels: (N, C, H, W), uint8 from 0 to 255, or floating point on the scale that `mean` and `std` refer to.
        labels: Targets: (N,) int64 from 0 for classes; floating point (N,), (N, outputs) or (N, outputs, H, W)
            otherwise.
    """

    pixels: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        """Refuse what is not a set of images with targets."""
        pixels, labels = self.pixels, self.labels
        if pixels.ndim != 4 or labels.ndim not in (1, 2, 4):
            shapes = f"pixels {tuple(pixels.shape)}, labels {tuple(labels.shape)}"
            raise DataError(f"{shapes}: give (N, C, H, W) and (N,), (N, outputs) or (N, outputs, H, W)")
        if len(pixels) != len(labels):
            raise DataError(f"{len(pixels)} images but {len(labels)} labels: give one label for each image")
        if pixels.numel() == 0 or labels.numel() == 0:
            shapes = f"pixels of shape {tuple(pixels.shape)} or labels of shape {tuple(labels.shape)}"
            raise DataError(f"{shapes} are empty: give at least one image, and something to predict")
        if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
            raise DataError(f"pixels are {pixels.dtype}: give uint8 from 0 to 255, or a floating point type")
        _check_finite("pixels", pixels)
        _check_targets(labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of each image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    def take(self, indices: Tensor) -> Images:
        """Copy the images at `indices`, an int64 vector, in that order."""
        return Images(self.pixels[indices], self.labels[indices])

    def join(self, other: AbstractImages) -> Images:
        """Copy these images, then the others, which are in memory as well and of the same size."""
        if not isinstance(other, Images):
            raise DataError(f"images in memory cannot be joined with {type(other).__name__}: load both in one way")
        return Images(torch.cat([self.pixels, other.pixels]), torch.cat([self.labels, other.labels]))

    def to(self, device: torch.device | str) -> Images:
        """Move both tensors to `device`."""
        return Images(self.pixels.to(device), self.labels.to(device))

    def stream(self, how: Streaming) -> Batches:
        """Return batches of all images, which are moved to the device at once."""
        if isinstance(how.augment, FileAugment):
            raise ConfigError("FileAugment is for image files, and these images are in memory: give an Augment")
        return Batches(
            self.to(how.device),
            size=how.size,
            seed=how.seed,
            mean=how.mean,
            std=how.std,
            augment=how.augment,
            shuffle=how.shuffle,
            drop_last=how.drop_last,
            ranks=how.ranks,
        )

    def fingerprint(self) -> str:
        """Return the SHA-256 of types, shapes, pixels and targets."""
        digest = hashlib.sha256()
        for values in (self.pixels, self.labels):
            digest.update(f"{values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()


class Batches(AbstractBatches):
    """Mini-batches of images in memory; cropped, flipped and normalized where they lie, a batch at a time."""

    def __init__(
        self,
        images: Images,
        *,
        size: int,
        seed: int,
        mean: Sequence[float],
        std: Sequence[float],
        augment: Augment | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        ranks: Ranks = Ranks(),
    ) -> None:
        """Prepare the first epoch.

        Args:
            images: Where the batches come from; they are read, never changed.
            size: Images in a batch, of all ranks together.
            seed: Fixes the whole sequence of epochs.
            mean: Subtracted, per channel; on the scale of pixels / 255 where they are uint8.
            std: Divided by, per channel.
            augment: What is done to the images, or None. Targets of the images' own height and width are cropped and
                flipped alike, with zeros beyond the border.
            shuffle: Whether each epoch takes a new order.
            drop_last: Whether a last, smaller batch is left out; it is kept by default, as in DARTS.
            ranks: Whose share of each batch is given.

        Raises:
            ConfigError: The batch size is not positive.
            DataError: A batch is larger than the data, or the statistics or targets do not go with the images.
        """
        super().__init__(len(images), size=size, seed=seed, shuffle=shuffle, drop_last=drop_last, ranks=ranks)
        check_statistics(mean, std, channels=images.shape[0])
        self._images = images
        self._augment = augment
        self._dense = images.labels.ndim == 4
        if self._dense and augment is not None and images.labels.shape[2:] != images.pixels.shape[2:]:
            sizes = f"targets of {tuple(images.labels.shape[2:])} and images of {images.shape[1:]} pixels"
            raise DataError(f"{sizes} cannot be cropped alike: give targets of the same size, or no augment")
        device = images.pixels.device
        self._mean = torch.tensor(mean, dtype=torch.float32, device=device).view(1, -1, 1, 1)
        self._std = torch.tensor(std, dtype=torch.float32, device=device).view(1, -1, 1, 1)

    def _epoch(self, generator: torch.Generator, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        # Of the batches before, too, what is drawn must be drawn.
        skipped = start if self._augment is None else 0
        for number, chunk in enumerate(self._chunks(generator)[skipped:], start=skipped):
            mine = share(len(chunk), self._ranks)
            if self._augment is None:  # nothing is drawn, so the others' images are not needed
                chunk, mine = chunk[mine], slice(None)
            chosen = chunk.to(self._images.labels.device)
            x, y = self._prepare(self._images.pixels[chosen], self._images.labels[chosen], generator)
            if number >= start:
                yield x[mine], y[mine]

    def _prepare(self, pixels: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if self._augment is not None:
            twin = torch.Generator().set_state(generator.get_state())  # the same draws for images and targets
            pixels = crop_and_flip(pixels, self._augment, generator)
            labels = crop_and_flip(labels, self._augment, twin) if self._dense else labels
        images = pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.float()
        images.sub_(self._mean).div_(self._std)  # in place: indexing made the batch a copy of the images
        if self._augment is not None and self._augment.cutout:
            images = cut_out(images, self._augment.cutout, generator)
        return images, labels.float() if labels.is_floating_point() else labels


def _check_finite(what: str, values: Tensor) -> None:
    # A sum shows what is not finite without a mask as large as the data; it may overflow, so that is looked into.
    if values.is_floating_point() and not bool(values.sum().isfinite()):
        wrong = (~values.isfinite()).reshape(len(values), -1).any(1).nonzero()
        if len(wrong):
            raise DataError(f"{what} of image {int(wrong[0])} are not finite: repair it, or leave the image out")


def _check_targets(labels: Tensor) -> None:
    if labels.is_floating_point():
        _check_finite("labels", labels)
    elif labels.dtype != torch.int64:
        raise DataError(f"labels are {labels.dtype}: give int64 for classes, or a floating point type")
    elif labels.ndim != 1:
        raise DataError(f"labels {tuple(labels.shape)} of classes: give one class for each image, (N,)")
    elif int(labels.min()) < 0:
        raise DataError(f"label {int(labels.min())} is negative: number the classes from 0")
