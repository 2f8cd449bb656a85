"""Derivatives of what is computed in numbers of a small range: scaled on the way in, unscaled on the way out.

A gradient is found in a graph of its own, between `Scaling.entered` and `Scaling.left`. Outside, it is a constant to
autograd, which differentiates it by a sweep over that graph, with cotangents of a size that fits. Every such sweep is
linear in its cotangents, so that their size can be taken out before and put back behind; and the sweep is again a graph
between the same two, so that this serves every order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlo.autodiff import vjp
from mlo.flat import Flat
from mlo.look import stacked
from mlo.vector import Params, scaled

Doubt = Callable[[Tensor], None]
"""Takes a flag, a boolean tensor of no dimensions: true if finite numbers led to others."""


@dataclass(frozen=True, eq=False)
class _Graph:
    """Outputs that autograd knows as functions of inputs.

    Attributes:
        inputs: Leaves.
        outputs: What was computed from them.
        entries: By how much each input is larger than outside.
        exits: By how much each output is larger than outside.
        doubt: Where overflow is told.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    entries: tuple[Tensor | float, ...]
    exits: tuple[Tensor | float, ...]
    doubt: Doubt

    def unscaled(self, outside: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the outputs as outside, functions of the inputs as outside."""
        found: tuple[Tensor, ...] = _Left.apply(self, *outside)  # type: ignore[no-untyped-call]
        return found

    def swept(self, outside: Sequence[Tensor], cotangents: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return cotangents on the inputs from those on the outputs, both as outside."""
        rows = zip(self.outputs, self.exits, cotangents, strict=True)
        asked = [(out, factor, cotangent) for out, factor, cotangent in rows if cotangent is not None]
        with torch.no_grad():
            shares = [cotangent / factor for _, factor, cotangent in asked]
            size = _norm(shares)
            fed = [share / size for share in shares]
        differentiable = torch.is_grad_enabled()
        tracked = [index for index, row in enumerate(asked) if differentiable and row[2].requires_grad]
        for index in tracked:
            fed[index].requires_grad_()
        outputs = [out for out, _, _ in asked]
        found = vjp(outputs, self.inputs, fed, differentiable=differentiable, retain=True)
        kept = [index for index, value in enumerate(found) if value is not None]
        if not kept:
            return list(found)
        graph = _Graph(
            (*self.inputs, *(fed[index] for index in tracked)),
            tuple(value for value in found if value is not None),
            (*self.entries, *(1 / (asked[index][1] * size) for index in tracked)),
            tuple(1 / (size * self.entries[index]) for index in kept),
            self.doubt,
        )
        results = graph.unscaled([*outside, *(asked[index][2] for index in tracked)])
        self.doubt(_lost([row[2] for row in asked], results))
        back = dict(zip(kept, results, strict=True))
        return [back.get(index) for index in range(len(self.inputs))]


class _Left(torch.autograd.Function):
    """The outputs of a graph as numbers, which autograd differentiates by a sweep over it."""

    @staticmethod
    def forward(ctx: Any, graph: _Graph, *outside: Tensor) -> tuple[Tensor, ...]:
        ctx.graph = graph
        ctx.save_for_backward(*outside)
        ctx.set_materialize_grads(False)
        return tuple(out.detach() / factor for out, factor in zip(graph.outputs, graph.exits, strict=True))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, *ctx.graph.swept(ctx.saved_tensors, cotangents)


class Scaling:
    """Takes the gradient of one loss at a scale.

    Args:
        factor: The scale.
        doubt: Where overflow is told.
        differentiable: Whether the gradient is to be differentiable.
    """

    def __init__(self, factor: float, doubt: Doubt, *, differentiable: bool) -> None:
        """Begin."""
        self.factor, self._doubt, self._differentiable = factor, doubt, differentiable
        self._outside, self._inside = list[Tensor](), list[Tensor]()

    def entered(self, params: Params) -> Params:
        """Return the same value with a history that begins here, if the gradient is to be differentiable."""
        flat = Flat.of(params)
        roots = flat.roots
        if self.factor == 1.0 or not self._differentiable or not any(root.requires_grad for root in roots):
            return params
        return flat.like_roots([self._leaf(root) if root.requires_grad else root for root in roots])

    def _leaf(self, value: Tensor) -> Tensor:
        leaf = value.detach().requires_grad_()
        self._outside.append(value)
        self._inside.append(leaf)
        return leaf

    def cotangent(self, loss: Tensor) -> Tensor:
        """Return what to differentiate a loss with."""
        return torch.ones_like(loss) if self.factor == 1.0 else torch.full_like(loss, self.factor)

    def left(self, loss: Tensor, parts: dict[str, Params]) -> dict[str, Params]:
        """Return the gradient unscaled, in the graph of what `entered` was given."""
        if self.factor == 1.0 or not parts:
            return parts
        flat = {name: Flat.of(part) for name, part in parts.items()}
        if not self._outside:
            found = {name: scaled(1 / self.factor, part) for name, part in flat.items()}
            self.look(loss, dict[str, Params](found))
            return dict[str, Params](found)
        outputs = tuple(root for part in flat.values() for root in part.roots)
        entries, exits = (1.0,) * len(self._inside), (self.factor,) * len(outputs)
        graph = _Graph(tuple(self._inside), outputs, entries, exits, self._doubt)
        results = graph.unscaled(self._outside)
        self._doubt(_lost([loss], results))
        rest = iter(results)
        return {name: part.like_roots([next(rest) for _ in part.roots]) for name, part in flat.items()}

    def look(self, loss: Tensor, parts: dict[str, Params]) -> None:
        """Tell of overflow where a loss is finite and its gradient, unscaled, is not."""
        if self.factor != 1.0 and parts:
            self._doubt(_lost([loss], [root for part in parts.values() for root in Flat.of(part).roots]))


def _norm(values: Sequence[Tensor]) -> Tensor:
    """Return the norm over several tensors, 1 if it is 0, without underflow of squares."""
    peak = _or_one(_norms(values, float("inf")).max())
    return _or_one(torch.linalg.vector_norm(_norms([value / peak for value in values]))) * peak


def _norms(values: Sequence[Tensor], order: float = 2.0) -> Tensor:
    return stacked([torch.linalg.vector_norm(value, order) for value in values])


def _or_one(value: Tensor) -> Tensor:
    return torch.where(value == 0, torch.ones_like(value), value)


def _lost(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    """Return, as a tensor, whether all numbers before were finite and those after are not."""
    with torch.no_grad():
        sound, found = (torch.isfinite(_norms(values)).all() for values in (before, after))
        return sound & ~found
