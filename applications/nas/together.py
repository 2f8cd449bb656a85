"""Batches of several tasks as one stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from torch import Tensor

from applications.nas.data import AbstractBatches

Stream = AbstractBatches | Sequence[tuple[Tensor, Tensor]]


class Together:
    """Batches of several tasks, one of each at a time; a task that ends first begins anew, and the longest decides."""

    def __init__(self, parts: Sequence[Stream]) -> None:
        """Begin at the place of each."""
        self._parts = parts

    def state_dict(self) -> list[dict[str, Tensor] | None]:
        """Return the places of the parts that have one; a list has not."""
        return [part.state_dict() if isinstance(part, AbstractBatches) else None for part in self._parts]

    def load_state_dict(self, state: list[dict[str, Tensor] | None]) -> None:
        """Go back to places that `state_dict` gave."""
        for part, place in zip(self._parts, state, strict=True):
            if isinstance(part, AbstractBatches) and place is not None:
                part.load_state_dict(place)

    def __iter__(self) -> Iterator[tuple[tuple[Tensor, Tensor], ...]]:
        """Go over as many as the longest has."""
        return self.start_at(0)

    def start_at(self, count: int) -> Iterator[tuple[tuple[Tensor, Tensor], ...]]:
        """Leave out the first `count`; those that follow are the same as without."""
        many = max(len(part) for part in self._parts)
        return self._rest([_endless(part, count) for part in self._parts], many - count)

    def _rest(self, streams: Sequence[Iterator[tuple[Tensor, Tensor]]], many: int) -> Iterator[Any]:
        for _ in range(many):
            yield tuple(next(stream) for stream in streams)


def _endless(batches: Stream, start: int) -> Iterator[tuple[Tensor, Tensor]]:
    whole, rest = divmod(start, len(batches))
    for _ in range(whole):
        iter(batches)  # draws what decides an epoch, and reads nothing
    if not rest:
        return _again(batches)
    # An epoch that has begun draws at once what decides it: others may share these batches.
    first = batches.start_at(rest) if isinstance(batches, AbstractBatches) else islice(iter(batches), rest, None)
    return chain(first, _again(batches))


def _again(batches: Stream) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from batches
