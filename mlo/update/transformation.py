"""torchopt's gradient transformations as update rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torchopt
from torchopt.base import GradientTransformation

from mlo.update.base import WEIGHT_DECAY, State, UpdateRule
from mlo.update.scalar import closed, has_derivative
from mlo.vector import Params, Values, zeros_like


@dataclass(frozen=True, eq=False)
class TorchOptUpdate(UpdateRule):
    """A torchopt gradient transformation, such as `torchopt.adam(1e-3)`."""

    transformation: GradientTransformation
    _settled: list[bool] = field(default_factory=list, init=False, repr=False)

    def settle(self, params: Params) -> None:
        """Make one update and throw it away, if none was made.

        Some transformations of torchopt 0.7 hide a flag of having been called in a closure, so that the first update
        they ever make is another one than all later ones. Without it, the rule is a function of its arguments.
        """
        if self._settled:
            return
        if _TRACE in self.ingredients():
            with torch.no_grad():
                state = self.transformation.init(params)
                self.transformation.update(zeros_like(params), state, params=params, inplace=False)
        self._settled.append(True)

    def init(self, params: Params) -> State:
        """Return the transformation's state."""
        self.settle(params)
        return self.transformation.init(params)

    def ingredients(self) -> set[str]:
        """Return the names of torchopt's factories that made the transformation, and of a weight decay in it."""
        found = list(_functions(tuple(self.transformation), set()))
        decays = any(name == WEIGHT_DECAY and bool(cell.cell_contents) for made in found for name, cell in _held(made))
        names = {getattr(function, "__qualname__", "").split(".")[0] for function in found}
        return names | ({WEIGHT_DECAY} if decays else set())

    def undifferentiable(self) -> str | None:
        """Return which of torchopt's factories is known to be differentiated wrongly, and what to use instead."""
        found = self.ingredients() & set(_NOT_DIFFERENTIABLE)
        return next((_NOT_DIFFERENTIABLE[name] for name in sorted(found)), None)

    def apply(self, params: Params, gradient: Params, state: State, others: Values) -> tuple[Params, State]:
        """Return (params + transformed gradient, new state)."""
        self.settle(params)
        updates, state = self.transformation.update(gradient, state, params=params, inplace=False)
        moved: Params = torchopt.apply_updates(params, updates, inplace=False)
        return moved, state


_TRACE = "_trace"
_ACCELERATED = "torchopt's accelerated Adam does not load its kernels with current torch: leave out use_accelerated_op"
_NOT_DIFFERENTIABLE = {
    "clip_grad_norm": "torchopt's clip_grad_norm treats the norm as a constant: use mlo.clip_norm(max_norm)",
    "scale_by_accelerated_adam": _ACCELERATED,
    "_scale_by_accelerated_adam": _ACCELERATED,
}


def with_scalars(transformation: GradientTransformation) -> GradientTransformation:
    """Let each setting inside that is a tensor with a derivative play the part of a number.

    Changes the transformation, which must be of nobody else.
    """
    for function in _functions(tuple(transformation), set()):
        if function.__module__.startswith("torchopt."):
            for _, cell in _held(function):
                if has_derivative(cell.cell_contents):
                    cell.cell_contents = closed(cell.cell_contents)
    return transformation


def _functions(function: Any, seen: set[int]) -> Iterator[Any]:
    """Yield `function` and every function that its closure holds."""
    if id(function) in seen:
        return
    seen.add(id(function))
    if isinstance(function, tuple):
        for part in function:
            yield from _functions(part, seen)
    elif callable(function):
        yield function
        for _, cell in _held(function):
            yield from _functions(cell.cell_contents, seen)


def _held(function: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and cells of what the closure of a function holds."""
    free = getattr(getattr(function, "__code__", None), "co_freevars", ())
    return zip(free, getattr(function, "__closure__", None) or (), strict=False)
