"""Mini-batches that can be iterated over again and again, the same way for the same seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from applications.nas.data.augment import Augment, crop_and_flip, cut_out
from applications.nas.data.task import Images, check_statistics
from mlo import ConfigError, DataError


class Batches:
    """Normalised mini-batches, shuffled and augmented anew in each epoch.

    Each `iter()` starts an epoch. It draws one number from the generator of this object, and that number seeds the
    generator of the epoch. So the global generator is never touched, an epoch that is left half-way does not shift
    the next one, and epochs may run side by side. All draws are made on the CPU: the sequence is the same whatever
    device holds the images.
    """

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
    ) -> None:
        """Prepare the first epoch.

        Args:
            images: Where the batches come from; they are read, never changed.
            size: Images in a batch.
            seed: Fixes the whole sequence of epochs.
            mean: Subtracted, per channel; on the scale of pixels / 255 where they are uint8.
            std: Divided by, per channel.
            augment: What is done to the images, or None.
            shuffle: Whether each epoch takes a new order.
            drop_last: Whether a last, smaller batch is left out; it is kept by default, as in DARTS.

        Raises:
            ConfigError: The batch size is not positive.
            DataError: A batch is larger than the data, or the statistics do not fit the images.
        """
        if size < 1:
            raise ConfigError(f"a batch of {size} images: give a size of 1 or more")
        if size > len(images):
            raise DataError(f"a batch of {size} images, but there are {len(images)}: take a smaller batch")
        check_statistics(mean, std, channels=images.shape[0])
        self._images = images
        self._size = size
        self._augment = augment
        self._shuffle = shuffle
        self._drop_last = drop_last
        device = images.pixels.device
        self._mean = torch.tensor(mean, dtype=torch.float32, device=device).view(1, -1, 1, 1)
        self._std = torch.tensor(std, dtype=torch.float32, device=device).view(1, -1, 1, 1)
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(len(self._images), self._size)
        return whole + (rest > 0 and not self._drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Start an epoch.

        Returns:
            An iterator over (x, y): x (B, C, H, W) float32, normalised; y (B,) int64.
        """
        # Drawn here and not in the generator function below, which runs only when its first batch is asked for.
        seed = int(torch.randint(2**63 - 1, (), generator=self._generator))
        return self._epoch(torch.Generator().manual_seed(seed))

    def state_dict(self) -> dict[str, Tensor]:
        """Position between two epochs: loaded elsewhere, the same epochs follow."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go to a position that `state_dict` gave.

        Args:
            state: What `state_dict` returned, here or in another process.

        Raises:
            ConfigError: It is not such a state.
        """
        if set(state) != {"generator"}:
            raise ConfigError(f"state with entries {sorted(state)}: load what Batches.state_dict returned")
        self._generator.set_state(state["generator"].cpu())

    def _epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self._images)
        order = torch.randperm(count, generator=generator) if self._shuffle else torch.arange(count)
        order = order.to(self._images.labels.device)
        for batch in range(len(self)):
            chosen = order[batch * self._size : (batch + 1) * self._size]
            yield self._prepare(self._images.pixels[chosen], generator), self._images.labels[chosen]

    def _prepare(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        if self._augment is not None:
            pixels = crop_and_flip(pixels, self._augment, generator)
        images = pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.float()
        images = images.sub(self._mean).div_(self._std)
        if self._augment is not None and self._augment.cutout:
            images = cut_out(images, self._augment.cutout, generator)
        return images
