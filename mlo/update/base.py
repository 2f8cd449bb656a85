"""What an update rule is, and the algebra of its state.

An update is a function of (variable, gradient, state) without side effects, so that it can be unrolled as it is. It
may also *read* other problems, as the proximal step of interleaving does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import optree
from torch import Tensor

from mlo.vector import Params, Values

State = Any
"""A tree of tensors and constants."""

WEIGHT_DECAY = "weight_decay"


class Recognize(Protocol):
    """Turns what a user gave as the update of a problem into a rule; `learned`: its settings have derivatives."""

    def __call__(self, owner: str, update: Any, variable: Any, *, learned: bool = False) -> UpdateRule:
        """Return the rule."""


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

    def placed(self, owner: str, variable: Any, recognize: Recognize) -> UpdateRule:
        """Return the rule as it is for one problem.

        Args:
            owner: The problem's name.
            variable: What the user declared as its variable.
            recognize: Turns what a user gave inside of this rule into a rule.
        """
        return self

    def penalty(self, params: Params, others: Values) -> Tensor | None:
        """Return the term that this rule adds to the loss whose stationary point it seeks, if it adds one."""
        return None

    def ingredients(self) -> set[str]:
        """Return the names of what the rule is put together from, as far as can be seen.

        They are names of torchopt's factories and of classes of torch.optim, and "weight_decay" if that is not zero.
        """
        return set()

    def rests_elsewhere(self) -> str | None:
        """Return why the rule does not come to rest where loss and penalty are stationary, None if it does."""
        if WEIGHT_DECAY in self.ingredients():
            return "its update decays weights on its own: put the decay into the loss"
        return None

    def undifferentiable(self) -> str | None:
        """Return what in the rule cannot be differentiated, or is wrongly, and what to use instead; None if nothing."""
        return None


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
