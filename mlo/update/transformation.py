"""torchopt's gradient transformations as update rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import optree
import torch
import torchopt
from torch import Tensor
from torchopt.base import GradientTransformation

from mlo.flat import Flat
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
                tree, zero = self._tree(params), self._tree(zeros_like(params))
                state = self.transformation.init(tree)
                self.transformation.update(zero, state, params=tree, inplace=False)
        self._settled.append(True)

    def init(self, params: Params) -> State:
        """Return the transformation's state."""
        self.settle(params)
        state: State = optree.tree_map(_on_host, self.transformation.init(self._tree(params)))
        return state

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
        flat = Flat.of(params)
        tree, slope = self._tree(flat), self._tree(Flat.of(gradient).arranged(flat.layout))
        updates, state = self.transformation.update(slope, state, params=tree, inplace=False)
        moved: dict[str, Tensor] = torchopt.apply_updates(tree, updates, inplace=False)
        if self._alike:
            return Flat(flat.layout, vectors=list(moved.values())), state
        return Flat(flat.layout, pieces=moved), state

    @cached_property
    def _alike(self) -> bool:
        """Whether each entry is moved alike, wherever it lies, so that a variable can be moved as one vector."""
        return _acts_alike(tuple(self.transformation), set())

    def _tree(self, params: Params) -> dict[str, Tensor]:
        """Return what the transformation is shown: whole vectors, if it does the same to each entry."""
        flat = Flat.of(params)
        return {str(index): v for index, v in enumerate(flat.vectors)} if self._alike else dict(flat.pieces)


def _on_host(leaf: Any) -> Any:
    """Return a number of updates made in memory of the host, where a schedule can read it without waiting."""
    counts = isinstance(leaf, Tensor) and leaf.dim() == 0 and not leaf.is_floating_point()
    return leaf.cpu() if counts else leaf


_TRACE = "_trace"
# What is known to act on each entry alone, or through a norm over all; a mask is not among them, nor anybody's own.
_ALIKE = {"ChainedGradientTransformation", "chain_flat", "tree_map_flat", "tree_map_flat_", "with_flattened_tree"}
_ALIKE |= {"_add_decayed_weights", "_flip_sign_and_add_weight_decay", "_adagrad_lr_schedule", _TRACE, "nan_to_num"}
_ALIKE |= {"clip_grad_norm", "clip_norm"}
_NUMBERS = {"step_size_fn", "lr"}  # schedules: functions of the number of updates
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


def _acts_alike(function: Any, seen: set[int]) -> bool:
    """Tell whether a transformation, and every one in its closure, is among those known."""
    if id(function) in seen:
        return True
    seen.add(id(function))
    if isinstance(function, tuple | list):
        return all(_acts_alike(part, seen) for part in function)
    if isinstance(function, Mapping):
        return _acts_alike(tuple(function.values()), seen)
    if not callable(function):
        return not (isinstance(function, Tensor) and function.dim())  # a setting of several entries is one of a shape
    name = getattr(function, "__qualname__", "").split(".")[0]
    # Where it was really written: functools.wraps gives a function the names of another one.
    home = getattr(function, "__globals__", {}).get("__name__", getattr(function, "__module__", "") or "")
    known = name in _ALIKE or name.startswith("_scale")
    if not known or not home.startswith(("torchopt.", "mlo.")):
        return False
    return all(cell in _NUMBERS or _acts_alike(held.cell_contents, seen) for cell, held in _held(function))


def _held(function: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and cells of what the closure of a function holds."""
    free = getattr(getattr(function, "__code__", None), "co_freevars", ())
    return zip(free, getattr(function, "__closure__", None) or (), strict=False)
