"""Mini-batches that can be iterated over again and again, the same way for the same seed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from applications.nas.launch import Ranks
from mlo import ConfigError, DataError


def share(count: int, ranks: Ranks) -> slice:
    """Return which images of a batch are those of a rank: no image is given twice, and none is left out.

    The shares follow each other and differ by one image at most. None is a single image, which has no batch statistics:
    where there are too few images for two each, the last ranks get none.

    Args:
        count: Images in the batch.
        ranks: The rank, and how many there are.
    """
    parts = max(1, min(ranks.world, count // 2))
    least, more = divmod(count, parts)
    start, end = (min(part, parts) * least + min(part, more) for part in (ranks.rank, ranks.rank + 1))
    return slice(start, end)


class AbstractBatches(ABC):
    """Normalized mini-batches, shuffled and augmented anew in each epoch.

    Each `iter()` starts an epoch. It draws one number from the generator of this object, and that number seeds the
    generator of the epoch. So the global generator is never touched, an epoch that is left half-way does not shift
    the next one, and epochs may run side by side. All draws are made on the CPU: the sequence is the same whatever
    device the batches end on, and each of several ranks gets its `share` of the same batches.
    """

    def __init__(
        self, count: int, *, size: int, seed: int, shuffle: bool, drop_last: bool, ranks: Ranks = Ranks()
    ) -> None:
        """Prepare the first epoch.

        Args:
            count: Images in an epoch.
            size: Images in a batch, of all ranks together.
            seed: Fixes the whole sequence of epochs.
            shuffle: Whether each epoch takes a new order.
            drop_last: Whether a last, smaller batch is left out.
            ranks: Whose share of each batch is given; it may be empty.

        Raises:
            ConfigError: The batch size is not positive.
            DataError: A batch is larger than the data.
        """
        if size < 1:
            raise ConfigError(f"a batch of {size} images: give a size of 1 or more")
        if size > count:
            raise DataError(f"a batch of {size} images, but there are {count}: take a smaller batch")
        self._count = count
        self._size = size
        self._shuffle = shuffle
        self._drop_last = drop_last
        self._ranks = ranks
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(self._count, self._size)
        return whole + (rest > 0 and not self._drop_last)

    def sizes(self) -> list[int]:
        """Return how many images each batch of an epoch has, in all ranks together."""
        return [min(self._size, self._count - start * self._size) for start in range(len(self))]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Start an epoch.

        Returns:
            An iterator over (x, y): x (B, C, H, W) float32, normalized; y the targets, (B,) int64 for classes and
            float32 for all others.
        """
        return self.start_at(0)

    def start_at(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Start an epoch, and leave out its first `count` batches; those that follow are the same as without."""
        # Drawn here and not in the generator function, which runs only when its first batch is asked for.
        seed = int(torch.randint(2**63 - 1, (), generator=self._generator))
        return self._epoch(torch.Generator().manual_seed(seed), count)

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
            raise ConfigError(f"state with entries {sorted(state)}: load what state_dict of batches returned")
        self._generator.set_state(state["generator"].cpu())

    @abstractmethod
    def _epoch(self, generator: torch.Generator, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch from number `start` on, with all draws from `generator`."""

    def _chunks(self, generator: torch.Generator) -> list[Tensor]:
        """Draw an epoch's order and cut it into batches of indices."""
        order = torch.randperm(self._count, generator=generator) if self._shuffle else torch.arange(self._count)
        return list(order.split(self._size))[: len(self)]
