"""Images that stay on disk, and mini-batches of them that are decoded when they are asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from applications.nas.data.augment import Augment
from applications.nas.data.batches import AbstractBatches, share
from applications.nas.data.images import AbstractImages, Streaming
from applications.nas.data.statistics import check_statistics
from applications.nas.data.transforms import Recipe
from mlo import ConfigError, DataError, MLOError

Names = np.ndarray[tuple[int, ...], np.dtype[np.bytes_]]


@dataclass(frozen=True, eq=False)
class ImageFiles(AbstractImages):
    """Image files with a class each, read as RGB whenever a batch needs them.

    Attributes:
        root: Folder that the names are relative to.
        names: (N,) file names in one array of bytes: a million Python strings would be copied into each worker.
        labels: (N,) int64, from 0.
        side: Height and width in pixels to which all images are brought.
        workers: Processes that decode, unless a stream names another number.
    """

    root: Path
    names: Names
    labels: Tensor
    side: int
    workers: int = 0

    def __post_init__(self) -> None:
        """Refuse what is not a set of files."""
        if len(self.names) != len(self.labels) or len(self.names) == 0:
            counts = f"{len(self.names)} image files and {len(self.labels)} labels"
            raise DataError(f"{self.root}: {counts}: give one label for each file, and at least one")
        if self.labels.dtype != torch.int64 or self.labels.ndim != 1 or int(self.labels.min()) < 0:
            raise DataError(f"{self.root}: labels of files must be classes: give (N,) int64 from 0")
        if self.side < 1:
            raise ConfigError(f"side is {self.side}: it is a number of pixels, so give 1 or more")
        if self.workers < 0:
            raise ConfigError(f"workers is {self.workers}: give a number of processes, 0 for none beside this one")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of each image."""
        return 3, self.side, self.side

    def path(self, index: int) -> Path:
        """Return where an image lies."""
        return self.root / os.fsdecode(bytes(self.names[index]))

    def take(self, indices: Tensor) -> ImageFiles:
        """Name the files at `indices`, an int64 vector, in that order."""
        return replace(self, names=self.names[indices.numpy()], labels=self.labels[indices])

    def join(self, other: AbstractImages) -> ImageFiles:
        """Name these files, then the others, which lie in the same folder and are brought to the same size."""
        if not isinstance(other, ImageFiles) or (other.root, other.side) != (self.root, self.side):
            raise DataError(f"{self.root}: these files can be joined with files of the same folder and side alone")
        return replace(
            self, names=np.concatenate([self.names, other.names]), labels=torch.cat([self.labels, other.labels])
        )

    def stream(self, how: Streaming) -> FileBatches:
        """Return batches of all images."""
        if isinstance(how.augment, Augment):
            raise ConfigError("Augment is for images in memory, and these are files: give a FileAugment")
        recipe = Recipe(self.side, how.mean, how.std, how.augment)
        workers = self.workers if how.workers is None else how.workers
        return FileBatches(replace(self, workers=workers), how, recipe)

    def fingerprint(self) -> str:
        """Return the SHA-256 of names and classes; the files themselves are not read."""
        digest = hashlib.sha256(b"\0".join(self.names.tolist()))
        digest.update(self.labels.numpy().tobytes())
        return digest.hexdigest()


class FileBatches(AbstractBatches):
    """Mini-batches of image files.

    The seed of an image's augmentation depends on the epoch and on the image, so the batches are the same to the bit
    for any number of workers; of several ranks, each decodes its own images alone.
    """

    def __init__(self, files: ImageFiles, how: Streaming, recipe: Recipe) -> None:
        """Prepare the first epoch.

        Args:
            files: What to read, and in how many processes.
            how: Size, seed, order and device of the batches.
            recipe: How a file becomes a tensor.

        Raises:
            ConfigError: The batch size is not positive.
            DataError: A batch is larger than the data, or the statistics do not fit three channels.
        """
        super().__init__(
            len(files),
            size=how.size,
            seed=how.seed,
            shuffle=how.shuffle,
            drop_last=how.drop_last,
            ranks=how.ranks,
        )
        check_statistics(how.mean, how.std, channels=3)
        self._files = files
        self._recipe = recipe
        self._device = torch.device(how.device)

    def _epoch(self, generator: torch.Generator, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        self._recipe.prepare()
        chunks = [chunk[share(len(chunk), self._ranks)] for chunk in self._chunks(generator)][start:]
        seeds = torch.randint(2**63 - 1, (self._count,), generator=generator)
        loader: DataLoader[Tensor | DataError] = DataLoader(
            _Decoded(self._files, self._recipe, seeds),
            batch_sampler=_Order([chunk for chunk in chunks if len(chunk)]),
            num_workers=min(self._files.workers, len(chunks)),
            collate_fn=_stack,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # otherwise it draws a number from the global one
        )
        source = iter(loader)
        for chunk in chunks:
            batch = _next(source) if len(chunk) else torch.empty(0, *self._files.shape)
            if isinstance(batch, MLOError):
                del source  # ends the workers now; an error that is kept would keep them, too
                raise batch
            labels = self._files.labels[chunk]
            yield batch.to(self._device, non_blocking=True), labels.to(self._device, non_blocking=True)


class _Order(Sampler[list[int]]):
    """Indices batch by batch, as Python numbers only when they are asked for."""

    def __init__(self, chunks: Sequence[Tensor]) -> None:
        self._chunks = chunks

    def __len__(self) -> int:
        return len(self._chunks)

    def __iter__(self) -> Iterator[list[int]]:
        return (chunk.tolist() for chunk in self._chunks)


class _Decoded(Dataset[Tensor | DataError]):
    """Decoded images by index. An error is handed over as a value: raised in a worker, it would lose its form."""

    def __init__(self, files: ImageFiles, recipe: Recipe, seeds: Tensor) -> None:
        self._files = files
        self._recipe = recipe
        self._seeds = seeds

    def __getitem__(self, index: int) -> Tensor | DataError:
        try:
            return self._recipe.image(self._files.path(index), int(self._seeds[index]))
        except DataError as error:
            return error


def _stack(items: list[Tensor | DataError]) -> Tensor | DataError:
    images = []
    for item in items:
        if isinstance(item, DataError):
            return item
        images.append(item)
    return torch.stack(images)


def _next(source: Iterator[Tensor | DataError]) -> Tensor | MLOError:
    """Return the next batch, or the error that a worker met."""
    try:
        return next(source)
    except RuntimeError as error:
        if "DataLoader worker" in str(error):
            return MLOError("a process that decodes images died, perhaps for lack of memory: use fewer workers")
        raise
