"""What a problem's batches are to an engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NoReturn

from mlo.errors import DataError
from mlo.position import FeedPosition, PassStart, resumed, skip


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
        self._passes, self._drawn = 0, 0
        self._start: PassStart | None = None

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
            self._number(self._passes)  # of the first pass, too, or it would be another one when it is resumed
            self._start, self._drawn = PassStart.of(self._batches), 0
            self._iterator = iter(self._batches)
        batch = next(self._iterator, ENDED)
        self._drawn += batch is not ENDED
        return batch

    def renew(self) -> None:
        """Begin the next pass, in another order if the batches are those of a `DistributedSampler`."""
        self._iterator, self._start, self._drawn = None, None, 0
        self._passes += 1

    def position(self) -> FeedPosition | None:
        """Return where this is; None if there are no batches at all."""
        if self._batches is None:
            return None
        return FeedPosition(self._passes, self._drawn, self._start, PassStart.own(self._batches))

    def renewed(self) -> Feed:
        """Return a feed of the same batches that has a place of its own."""
        other = Feed(self._name, self._batches)
        if isinstance(self._batches, Iterator):
            other._iterator, other._start, other._drawn = self._iterator, self._start, self._drawn
        return other

    def seek(self, position: FeedPosition) -> None:
        """Go to a position in the same batches; for a new feed, or a `renewed` one.

        Raises:
            DataError: If there are fewer batches, or they can be read only once and are read already.
        """
        if self._batches is None:
            raise DataError(f"problem {self._name!r}: had batches, and has none: declare the same as when it was saved")
        if isinstance(self._batches, Iterator):
            self._seek_once(self._batches, position)
            return
        self._number(position.passes)
        if position.start is None:
            position.now.put_back_own(self._batches)
        else:
            position.start.put_back(self._batches)
            self._start, self._drawn = position.start.again(), position.drawn
            self._iterator = resumed(self._name, self._batches, position.drawn)

    def settle(self, position: FeedPosition) -> None:
        """Put the generators of the batches to where they were, once all feeds are in their places."""
        if self._batches is not None:
            position.now.put_back_generators(self._batches)

    def _seek_once(self, batches: Iterator[Any], position: FeedPosition) -> None:
        if self._drawn > position.drawn:
            cure = "restore into a new engine, or declare something that can be read again, such as a list"
            raise DataError(f"problem {self._name!r}: its batches cannot be read again: {cure}")
        skip(self._name, batches, position.drawn - self._drawn)
        self._iterator, self._drawn = batches, position.drawn
        self._start = None if position.start is None else position.start.again()

    def _number(self, passes: int) -> None:
        """Say which pass comes to those who order their batches by it."""
        self._passes = passes
        in_batches = getattr(self._batches, "batch_sampler", None)
        holders = (self._batches, getattr(self._batches, "sampler", None), in_batches)
        for holder in (*holders, getattr(in_batches, "sampler", None)):
            begin = getattr(holder, "set_epoch", None)
            if begin is not None:
                begin(passes)

    def fail(self) -> NoReturn:
        """Raise: a pass gave nothing."""
        if isinstance(self._batches, Iterator):
            cure = "declare something that can be read again, such as a list or a DataLoader"
            raise DataError(f"problem {self._name!r}: its batches are used up: {cure}")
        raise DataError(f"problem {self._name!r}: its batches are empty")
