"""What a problem's batches are to an engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NoReturn

from mlo.errors import DataError


class _Ended:
    """The type of `ENDED`."""

    def __repr__(self) -> str:
        """Return its name."""
        return "ENDED"


ENDED: Final = _Ended()
"""In the place of a batch, where a pass over the batches has ended."""


class Feed:
    """An endless stream over a problem's batches: begins anew whenever they end."""

    def __init__(self, name: str, batches: Iterable[Any] | None) -> None:
        """Begin with the batches of problem `name`."""
        self._name, self._batches = name, batches
        self._iterator: Iterator[Any] | None = None
        self._passes = self._drawn = 0

    @property
    def place(self) -> tuple[int, int]:
        """Where the batch that was drawn last is: in which pass, from 1, as which batch of it, from 1; 0 for none."""
        return self._passes + 1, self._drawn

    def draw(self) -> Any:
        """Return the next batch, of the next pass if this one has ended; None if there are no batches at all."""
        batch = self.ahead()
        if batch is ENDED:
            self.renew()
            batch = self.ahead()
        if batch is ENDED:
            self.fail()
        return batch

    def ahead(self) -> Any:
        """Return the next batch of this pass, or `ENDED`; None if there are no batches at all."""
        if self._batches is None:
            return None
        if self._iterator is None:
            self._iterator = iter(self._batches)
        batch = next(self._iterator, ENDED)
        self._drawn += batch is not ENDED
        return batch

    def renew(self) -> None:
        """Begin the next pass, in another order if the batches are those of a `DistributedSampler`."""
        self._iterator = None
        self._passes, self._drawn = self._passes + 1, 0
        in_batches = getattr(self._batches, "batch_sampler", None)
        holders = (self._batches, getattr(self._batches, "sampler", None), in_batches)
        for holder in (*holders, getattr(in_batches, "sampler", None)):
            begin = getattr(holder, "set_epoch", None)
            if begin is not None:
                begin(self._passes)

    def fail(self) -> NoReturn:
        """Raise: a pass gave nothing."""
        if isinstance(self._batches, Iterator):
            cure = "declare something that can be read again, such as a list or a DataLoader"
            raise DataError(f"problem {self._name!r}: its batches are used up: {cure}")
        raise DataError(f"problem {self._name!r}: its batches are empty")
