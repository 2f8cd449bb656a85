"""What a problem's batches are to an engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mlo.errors import DataError


class Feed:
    """An endless stream over a problem's batches: begins anew whenever they end."""

    def __init__(self, name: str, batches: Iterable[Any] | None) -> None:
        """Begin with the batches of problem `name`."""
        self._name, self._batches = name, batches
        self._iterator: Iterator[Any] | None = None

    def draw(self) -> Any:
        """Return the next batch."""
        if self._batches is None:
            return None
        for fresh in (False, True):
            if self._iterator is None or fresh:
                self._iterator = iter(self._batches)
            for batch in self._iterator:
                return batch
        if isinstance(self._batches, Iterator):
            cure = "declare something that can be read again, such as a list or a DataLoader"
            raise DataError(f"problem {self._name!r}: its batches are used up: {cure}")
        raise DataError(f"problem {self._name!r}: its batches are empty")
