"""Where named tensors lie in one vector, or in one for each dtype and device."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor


class Layout:
    """Which piece lies where.

    A piece that is not strided, such as a sparse buffer, cannot be put behind another: it stays as it is, for itself.

    Args:
        pieces: Tensors by name, in order.
    """

    def __init__(self, pieces: Mapping[str, Tensor]) -> None:
        """Note names, shapes, and which pieces share a vector: those of one dtype and device."""
        self.shapes: dict[str, torch.Size] = {name: value.shape for name, value in pieces.items()}
        found: dict[tuple[torch.dtype, torch.device, str], list[str]] = {}
        self._sparse = {name for name, value in pieces.items() if value.layout != torch.strided}
        for name, value in pieces.items():
            found.setdefault((value.dtype, value.device, name if name in self._sparse else ""), []).append(name)
        self.kinds = tuple((dtype, device) for dtype, device, _ in found)
        self.groups: tuple[tuple[str, ...], ...] = tuple(tuple(names) for names in found.values())
        self._runs: list[tuple[Layout, frozenset[str], list[Run]]] = []
        self._sizes = [[self.shapes[name].numel() for name in names] for names in self.groups]

    def __eq__(self, other: object) -> bool:
        """Tell whether vectors of the one can be read by the other."""
        if self is other:
            return True
        if not isinstance(other, Layout):
            return NotImplemented
        return (self.kinds, self.groups, list(self.shapes.items()), self._sparse) == (
            other.kinds,
            other.groups,
            list(other.shapes.items()),
            other._sparse,
        )

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def starts(self) -> dict[str, tuple[int, int]]:
        """For each piece: its vector, and where it starts there."""
        found = {}
        for index, (names, sizes) in enumerate(zip(self.groups, self._sizes, strict=True)):
            start = 0
            for name, size in zip(names, sizes, strict=True):
                found[name] = (index, start)
                start += size
        return found

    def runs(self, other: Layout, shared: Collection[str]) -> list[Run]:
        """Divide the vectors into stretches whose pieces also lie in a row in another layout, and those that do not.

        Args:
            other: The other layout.
            shared: Names of the pieces to look for there.
        """
        names = frozenset(shared)
        # Equal ones count as one, for layouts come and go: in each call of a function, the same anew.
        known = (found for layout, held, found in self._runs if held == names and layout == other)
        found = next(known, None)
        if found is None:
            found = _runs(self, other, names)
            self._runs.append((other, names, found))
        return found

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of entries of each vector."""
        return tuple(sum(sizes) for sizes in self._sizes)

    def examples(self) -> list[Tensor]:
        """Return a tensor without numbers for each piece, of its shape, dtype and device."""
        kinds = {name: kind for kind, names in zip(self.kinds, self.groups, strict=True) for name in names}
        found = []
        for name, shape in self.shapes.items():
            dtype, device = kinds[name]
            found.append(torch.empty((), dtype=dtype, device=device).expand(shape))
        return found

    def split(self, vectors: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the pieces as views of the vectors."""
        pieces: dict[str, Tensor] = {}
        for names, sizes, vector in zip(self.groups, self._sizes, vectors, strict=True):
            parts = vector.split(sizes) if len(names) > 1 else (vector,)
            for name, part in zip(names, parts, strict=True):
                shape = self.shapes[name]
                pieces[name] = part if len(shape) == 1 or name in self._sparse else part.view(shape)
        return pieces if len(self.groups) == 1 else {name: pieces[name] for name in self.shapes}

    def join(self, pieces: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Return the vectors of pieces."""
        return tuple(_joined([pieces[name] for name in names]) for names in self.groups)


def _joined(pieces: Sequence[Tensor]) -> Tensor:
    if len(pieces) == 1 and (pieces[0].dim() == 1 or pieces[0].layout != torch.strided):
        return pieces[0]
    flat = [piece if piece.dim() == 1 else piece.reshape(-1) for piece in pieces]
    return torch.cat(flat) if len(flat) > 1 else flat[0]


@dataclass(frozen=True)
class Run:
    """A stretch of a vector.

    Attributes:
        vector: Number of the vector.
        start: Where the stretch starts.
        stop: Where it stops.
        whole: Whether it is the whole vector.
        other: Vector and start of the same pieces in another layout, None if they are not looked for there.
    """

    vector: int
    start: int
    stop: int
    whole: bool
    other: tuple[int, int] | None

    def of(self, vectors: Sequence[Tensor]) -> Tensor:
        """Return the stretch."""
        vector = vectors[self.vector]
        return vector if self.whole else vector[self.start : self.stop]

    def there(self, vectors: Sequence[Tensor]) -> Tensor:
        """Return the same pieces from the vectors of the other layout."""
        if self.other is None:
            raise RuntimeError("a run that has no counterpart was looked up in the other layout")
        vector, start = vectors[self.other[0]], self.other[1]
        size = self.stop - self.start
        return vector if size == vector.numel() else vector[start : start + size]


def _runs(own: Layout, other: Layout, shared: Collection[str]) -> list[Run]:
    found: list[Run] = []
    for index, names in enumerate(own.groups):
        total, stretch = own.sizes[index], list[Run]()
        for name in names:
            start, size = own.starts[name][1], own.shapes[name].numel()
            there = other.starts[name] if name in shared else None
            last = stretch[-1] if stretch else None
            if last is not None and _goes_on(last, there):
                stretch[-1] = replace(last, stop=start + size, whole=last.start == 0 and start + size == total)
            else:
                stretch.append(Run(index, start, start + size, start == 0 and size == total, there))
        found += stretch
    return found


def _goes_on(last: Run, there: tuple[int, int] | None) -> bool:
    if last.other is None or there is None:
        return last.other is there
    return there == (last.other[0], last.other[1] + last.stop - last.start)
