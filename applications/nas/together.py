"""Batches of several tasks as one stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
        streams = [_endless(part) for part in self._parts]
        for _ in range(max(len(part) for part in self._parts)):
            yield tuple(next(stream) for stream in streams)


def _endless(batches: Stream) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from batches
