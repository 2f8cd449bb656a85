"""A variable as an optimizer with groups of parameters sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mlo.flat import Flat
from mlo.layout import Layout
from mlo.update.recipe import Slots
from mlo.vector import Params


class Grouped:
    """Turns a variable into the tensors that an optimizer moves, and back.

    Where the optimizer moves each entry alike, it is shown the parameters of each group as one vector (one for each
    dtype and device): one operation in the place of one for each parameter.

    Args:
        layout: Of the variable.
        groups: Names of the parameters of each group.
        whole: Whether the optimizer moves each entry alike; else it is shown each parameter.

    Attributes:
        names: For each group, the names of what the optimizer is shown.
    """

    def __init__(self, layout: Layout, groups: Sequence[Sequence[str]], *, whole: bool) -> None:
        """Find what lies where."""
        self.layout, self._whole = layout, whole
        kinds = dict(zip(layout.shapes, layout.examples(), strict=True)) if whole and len(groups) > 1 else {}
        self._parts = [layout] if len(groups) == 1 else [Layout({n: kinds[n] for n in g}) for g in groups if kinds]
        if whole:
            counts = [len(part.groups) for part in self._parts]
            self.names = tuple(tuple(_name(g, k) for k in range(count)) for g, count in enumerate(counts))
        else:
            self.names = tuple(tuple(group) for group in groups)

    def shown(self, params: Params) -> dict[str, Tensor]:
        """Return the tensors that the optimizer is shown for `params`."""
        flat = Flat.of(params).arranged(self.layout)
        if not self._whole:
            return dict(flat.pieces)
        joined = [flat.vectors] if len(self._parts) == 1 else [part.join(flat.pieces) for part in self._parts]
        return {_name(g, k): vector for g, vectors in enumerate(joined) for k, vector in enumerate(vectors)}

    def taken(self, tensors: Mapping[str, Tensor]) -> Flat:
        """Return the variable of which the optimizer was shown `tensors`."""
        if not self._whole:
            return Flat(self.layout, pieces={name: tensors[name] for name in self.layout.shapes})
        vectors = [[tensors[name] for name in names] for names in self.names]
        if len(self._parts) == 1:
            return Flat(self.layout, vectors=vectors[0])
        pieces = {n: p for part, own in zip(self._parts, vectors, strict=True) for n, p in part.split(own).items()}
        return Flat(self.layout, pieces={name: pieces[name] for name in self.layout.shapes})

    def packed(self, slots: Mapping[str, Slots]) -> dict[str, Slots] | None:
        """Return the state of each parameter as one of what the optimizer is shown, None if it cannot be.

        It can be if there is none, or if all parameters of a vector hold the same: numbers that are equal, and tensors
        of their own shapes.
        """
        if not self._whole or not slots:
            return dict(slots)
        found: dict[str, Slots] = {}
        for part, shown in zip(self._parts, self.names, strict=True):
            for names, name in zip(part.groups, shown, strict=True):
                held = [slots.get(one, {}) for one in names]
                if any(set(one) != set(held[0]) for one in held):
                    return None
                found[name] = {}
                for key in held[0]:
                    values = [one[key] for one in held]
                    value = _together(values, [part.shapes[one] for one in names])
                    if value is None and any(one is not None for one in values):
                        return None
                    found[name][key] = value
        return found


def _together(values: Sequence[Any], shapes: Sequence[torch.Size]) -> Any:
    """Return what several parameters hold as one thing, None if that is not clear."""
    if all(isinstance(value, Tensor) for value in values):
        fit = all(value.shape == shape for value, shape in zip(values, shapes, strict=True))
        # A number in a tensor is not to be taken for the state of a parameter that is a number.
        return torch.cat([v.reshape(-1) for v in values]) if fit and any(len(shape) for shape in shapes) else None
    return values[0] if all(isinstance(value, int | float) and value == values[0] for value in values) else None


def _name(group: int, vector: int) -> str:
    return f"group {group}, vector {vector}"
