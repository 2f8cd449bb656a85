"""Named tensors that lie one behind the other in one vector.

A problem may have thousands of small tensors, and one operation on each of them costs far more than the arithmetic in
it. So the library keeps a variable as one vector (one for each dtype and device, if they differ) and cuts it into named
pieces only where a loss needs them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from mlo.layout import Layout


class Flat(Mapping[str, Tensor]):
    """Tensors by name, kept as vectors or as pieces, and turned into the other form when that is asked for.

    It is not to be changed. The form that it was made in is its *root*: the other one has its history from there, so
    that a derivative with respect to the root is one with respect to all. Where there is no history, the vectors take
    the place of the pieces once they are made.

    Args:
        layout: Which piece lies where.
        vectors: One for each group of the layout; or
        pieces: tensors by name; or
        uncut: Values of which this becomes a copy without history that requires a gradient. Its root is the form that
            is asked for first: pieces by a loss, vectors by an update.
    """

    __slots__ = ("_by_vectors", "_pieces", "_uncut", "_vectors", "layout")

    def __init__(
        self,
        layout: Layout,
        *,
        vectors: Sequence[Tensor] | None = None,
        pieces: dict[str, Tensor] | None = None,
        uncut: Flat | None = None,
    ) -> None:
        """Keep one of the forms."""
        self.layout, self._pieces, self._uncut = layout, pieces, uncut
        self._vectors = None if vectors is None else tuple(vectors)
        self._by_vectors = vectors is not None

    @staticmethod
    def of(values: Mapping[str, Tensor]) -> Flat:
        """Return `values` in this form."""
        return values if isinstance(values, Flat) else Flat(Layout(values), pieces=dict(values))

    @property
    def vectors(self) -> tuple[Tensor, ...]:
        """The vectors, one for each group of the layout."""
        if self._vectors is None and self._uncut is not None:
            self._vectors = tuple(vector.detach().requires_grad_() for vector in self._uncut.vectors)
            self._by_vectors, self._uncut = True, None
        if self._vectors is not None:
            return self._vectors
        tracked = any(piece.requires_grad for piece in self._known_pieces.values())
        made = self.layout.join(self._known_pieces)
        if not tracked:  # nobody differentiates to the pieces, so there is no need for both copies
            self._vectors, self._pieces, self._by_vectors = made, None, True
        elif torch.is_grad_enabled():  # else the history is lost in these
            self._vectors = made
        return made

    @property
    def pieces(self) -> dict[str, Tensor]:
        """The tensors by name; not to be changed."""
        if self._pieces is None and self._uncut is not None:
            self._pieces = self._uncut._constant_pieces()
            for value in self._pieces.values():
                value.requires_grad_()
            self._uncut = None
        if self._pieces is not None:
            return self._pieces
        made = self.layout.split(self.vectors)
        if torch.is_grad_enabled() or not any(vector.requires_grad for vector in self.vectors):
            self._pieces = made
        return made

    @property
    def _known_pieces(self) -> dict[str, Tensor]:
        if self._pieces is None:
            raise RuntimeError("a Flat was made of nothing: give vectors, pieces or uncut")
        return self._pieces

    def _constant_pieces(self) -> dict[str, Tensor]:
        """Return pieces without history that nobody else has."""
        if self._vectors is None and self._uncut is None:
            return {name: piece.detach() for name, piece in self._known_pieces.items()}
        # Views of what has no history: one operation each less than to cut them one by one.
        return self.layout.split([vector.detach() for vector in self.vectors])

    @property
    def joined(self) -> bool:
        """Whether it is kept as vectors."""
        return self._by_vectors

    @property
    def roots(self) -> list[Tensor]:
        """The tensors of the form that this was made in."""
        if self._uncut is not None:
            return list(self.vectors)
        return list(self.vectors if self._by_vectors else self.pieces.values())

    def like_roots(self, values: Sequence[Tensor]) -> Flat:
        """Return a value of the same space, of tensors shaped as `roots`."""
        if self._by_vectors:
            return Flat(self.layout, vectors=values)
        return Flat(self.layout, pieces=dict(zip(self.layout.shapes, values, strict=True)))

    def filled(self, values: Sequence[Tensor | None]) -> Flat:
        """Return a value of the same space, of tensors shaped as `roots`, with zero where there is none."""
        pairs = zip(values, self.roots, strict=True)
        return self.like_roots([torch.zeros_like(at) if value is None else value for value, at in pairs])

    def cut(self, *, differentiable: bool) -> Flat:
        """Return these values as a point to differentiate at; see `mlo.autodiff.cut`."""
        if not differentiable or not any(value.requires_grad for value in self.roots):
            return Flat(self.layout, uncut=self)
        return self.like_roots([v.view_as(v) if v.requires_grad else v.detach().requires_grad_() for v in self.roots])

    def in_roots_of(self, other: Flat) -> list[Tensor]:
        """Return these values in the form of the roots of `other`, which has the same layout."""
        return list(self.vectors if other._by_vectors else self.pieces.values())

    def arranged(self, layout: Layout) -> Flat:
        """Return the same tensors in the order of another layout."""
        if self.layout == layout:
            return self
        return Flat(layout, pieces={name: self[name] for name in layout.shapes})

    def __getitem__(self, name: str) -> Tensor:
        """Return one piece."""
        return self.pieces[name]

    def __iter__(self) -> Iterator[str]:
        """Go over the names."""
        return iter(self.layout.shapes)

    def __len__(self) -> int:
        """Return the number of pieces."""
        return len(self.layout.shapes)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is such a piece."""
        return name in self.layout.shapes

    def __repr__(self) -> str:
        """Show the pieces."""
        return f"Flat({self.pieces!r})"
