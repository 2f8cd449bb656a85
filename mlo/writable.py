"""Module buffers that one evaluation of a loss may write to."""

from __future__ import annotations

import torch
from torch import Tensor

from mlo.flat import Flat
from mlo.vector import Params, clone, detach


class Writable:
    """Copies of a module's buffers for one evaluation, which may write to them or put others in their places.

    Attributes:
        pieces: The copies, by name.
    """

    def __init__(self, buffers: Params) -> None:
        """Copy the buffers."""
        self._copy = Flat.of(clone(buffers))
        # By `data`, each has a count of changes of its own: torch is not to take a change of one for one of another.
        self.pieces = {name: piece.data for name, piece in self._copy.pieces.items()}
        self._given, self._before = dict(self.pieces), buffers

    def moves(self) -> Params:
        """Return by how much those of real numbers were moved; nothing else tells which of them BatchNorm wrote to."""
        found = {}
        for name, piece in self.pieces.items():
            if piece.is_floating_point():
                before = self.before(name)
                found[name] = torch.where(piece == before, 0.0, piece - before).detach()
        return found

    def before(self, name: str) -> Tensor:
        """Return what was there before, or zero if something of another shape has come into its place."""
        found, piece = self._before[name], self.pieces[name]
        return found if found.shape == piece.shape else torch.zeros_like(piece)

    def after(self) -> Params:
        """Return the buffers as they are now, without history."""
        if all(self.pieces[name] is given for name, given in self._given.items()):
            return self._copy
        return detach(self.pieces)
