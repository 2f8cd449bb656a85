"""How one gradient moves a variable: torchopt's transformations behind a pure `init` / `apply` pair.

An update is a function of (variable, gradient, state) without side effects, so that it can be unrolled as it is. It
may also *read* other problems, as the proximal step of interleaving does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import optree
import torch
import torchopt
from torch import Tensor
from torchopt.base import GradientTransformation

from mlo.errors import ConfigError, GraphError
from mlo.vector import Params, Values, dot, zeros_like

State = Any
"""A tree of tensors and constants, as torchopt makes them."""


class UpdateRule(ABC):
    """A pure update rule.

    Attributes:
        reads: Names of the problems whose values `apply` needs besides its own.
        remembers: Names of the problems whose *stored* value, of before this outer step, it needs as a constant.
    """

    reads: tuple[str, ...] = ()
    remembers: tuple[str, ...] = ()

    @abstractmethod
    def init(self, params: Params) -> State:
        """Return the state before the first update of `params`."""

    @abstractmethod
    def apply(self, params: Params, gradient: Params, state: State, others: Values) -> tuple[Params, State]:
        """Return the new (params, state); changes nothing in place."""

    def penalty(self, params: Params, others: Values) -> Tensor | None:
        """Return the term that this rule adds to the loss whose stationary point it seeks, if it adds one."""
        return None

    def ingredients(self) -> set[str]:
        """Return the names of the factories that the rule was put together by, as far as can be seen."""
        return set()

    def rests_elsewhere(self) -> str | None:
        """Return why the rule does not come to rest where loss and penalty are stationary, None if it does."""
        if _DECAY in self.ingredients():
            return "its update decays weights on its own: put the decay into the loss"
        return None


@dataclass(frozen=True, eq=False)
class TorchOptUpdate(UpdateRule):
    """A torchopt gradient transformation, such as `torchopt.adam(1e-3)`."""

    transformation: GradientTransformation
    _settled: list[bool] = field(default_factory=list, init=False, repr=False)

    def init(self, params: Params) -> State:
        """Return the transformation's state.

        Some transformations of torchopt 0.7 hide a flag of having been called in a closure, so that the first update
        they ever make is another one than all later ones. One update made at the first call and thrown away settles it:
        the rule is then a function of its arguments.
        """
        if not self._settled:
            with torch.no_grad():
                state = self.transformation.init(params)
                self.transformation.update(zeros_like(params), state, params=params, inplace=False)
            self._settled.append(True)
        return self.transformation.init(params)

    def ingredients(self) -> set[str]:
        """Return the names of torchopt's factories that made the transformation."""
        return set(_functions_inside(tuple(self.transformation), set()))

    def apply(self, params: Params, gradient: Params, state: State, others: Values) -> tuple[Params, State]:
        """Return (params + transformed gradient, new state)."""
        updates, state = self.transformation.update(gradient, state, params=params, inplace=False)
        moved: Params = torchopt.apply_updates(params, updates, inplace=False)
        return moved, state


def clip_norm(max_norm: float) -> GradientTransformation:
    """Scale a gradient g by min(1, max_norm / |g|), differentiably.

    For use in `torchopt.chain(mlo.clip_norm(5.0), torchopt.sgd(0.1))`. torchopt's own clipping treats |g| as a
    constant when it is differentiated.

    Args:
        max_norm: The largest Euclidean norm, over all tensors together, that passes unchanged.

    Returns:
        A torchopt gradient transformation without state.

    Raises:
        ConfigError: If `max_norm` is not positive.
    """
    if not max_norm > 0:
        raise ConfigError(f"clip_norm: max_norm must be positive, got {max_norm}")

    def update(updates: Params, state: State, *, params: Any = None, inplace: bool = True) -> tuple[Params, State]:
        found: list[Tensor] = optree.tree_leaves(updates)  # type: ignore[arg-type]
        leaves = {str(place): leaf for place, leaf in enumerate(found)}
        # A square, unlike a norm, has derivatives of all orders where a tensor is zero; so has the clamped root.
        square = dot(leaves, leaves)
        factor = torch.where(square > max_norm**2, max_norm / square.clamp(min=max_norm**2).sqrt(), 1.0)
        return optree.tree_map(lambda g: factor * g, updates), state  # type: ignore[arg-type, return-value]

    return GradientTransformation(lambda params: (), update)


def split_state(state: State) -> tuple[list[Tensor], Callable[[list[Tensor]], State]]:
    """Split a state into its differentiable tensors and a function that puts new ones in their places."""
    leaves, spec = optree.tree_flatten(state)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()]

    def rebuild(values: list[Tensor]) -> State:
        filled = list(leaves)
        for place, value in zip(places, values, strict=True):
            filled[place] = value
        return optree.tree_unflatten(spec, filled)

    return [leaves[i] for i in places], rebuild


def detach_state(state: State) -> State:
    """Return the same state without its history."""
    values, rebuild = split_state(state)
    return rebuild([value.detach() for value in values])


_DECAY = "weight_decay"
_ACCELERATED = "torchopt's accelerated Adam does not load its kernels with current torch: leave out use_accelerated_op"
_NOT_DIFFERENTIABLE = {
    "clip_grad_norm": "torchopt's clip_grad_norm treats the norm as a constant: use mlo.clip_norm(max_norm)",
    "scale_by_accelerated_adam": _ACCELERATED,
    "_scale_by_accelerated_adam": _ACCELERATED,
}


def _functions_inside(function: Any, seen: set[int]) -> Iterator[str]:
    """Yield the names of the factories that made `function` and every function that its closure holds.

    Yields "weight_decay", too, for a function that holds one that is not zero.
    """
    if id(function) in seen:
        return
    seen.add(id(function))
    if isinstance(function, tuple):
        for part in function:
            yield from _functions_inside(part, seen)
    elif callable(function):
        yield getattr(function, "__qualname__", "").split(".")[0]
        free = getattr(getattr(function, "__code__", None), "co_freevars", ())
        for name, cell in zip(free, getattr(function, "__closure__", None) or (), strict=False):
            if name == _DECAY and cell.cell_contents:
                yield _DECAY
            yield from _functions_inside(cell.cell_contents, seen)


def as_update(owner: str, update: Any) -> UpdateRule:
    """Recognise what a user gave as `update` of problem `owner`.

    Raises:
        GraphError: If it is not a torchopt transformation.
    """
    if isinstance(update, UpdateRule):
        return update
    if not isinstance(update, GradientTransformation):
        hint = "a torchopt gradient transformation, such as torchopt.adam(1e-3)"
        raise GraphError(f"problem {owner!r}: update must be {hint}; got {type(update).__name__}")
    return TorchOptUpdate(update)


def undifferentiable_part(rule: UpdateRule) -> str | None:
    """Return what in `rule` is known to be differentiated wrongly and what to use instead, or None."""
    found = rule.ingredients() & set(_NOT_DIFFERENTIABLE)
    return next((_NOT_DIFFERENTIABLE[name] for name in sorted(found)), None)
