"""One recorded update, and the sweep back over many of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mlo.autodiff import cut, cut_tensor, named_vjp
from mlo.flat import Flat
from mlo.hypergradient.base import Linearization, Node, Point
from mlo.hypergradient.run import filled
from mlo.update import State, detach_state, split_state
from mlo.vector import Params, Values, add, detach, tensors

OWN, GRADIENT, STATE = "x", "g", "s"


@dataclass(frozen=True, eq=False)
class Step:
    """One recorded update (x', s') = U(x, g, s, z): the points it starts from, and where it ended."""

    linearization: Linearization
    leaves: dict[str, Flat]
    others: dict[str, Flat]
    params: Params
    state: State

    @property
    def end(self) -> Point:
        """Where the step ended, without history."""
        return Point(detach(self.params), detach_state(self.state), self.linearization.seen.buffers)

    def pull(
        self, cotangent: Params, state_cotangent: list[Tensor] | None, *, differentiable: bool, first: bool = False
    ) -> tuple[dict[str, Params], dict[str, Params]]:
        """Return the cotangents on (x, g, s), and those on what the update itself reads.

        The `first` step of a solve starts from constants: there, g alone.
        """
        params = Flat.of(self.params)
        outputs = [*params.roots, *split_state(self.state)[0]]
        ends = state_cotangent if state_cotangent is not None else []
        given = Flat.of(cotangent).in_roots_of(params) + ends
        inputs = {("leaf", name): value for name, value in self.leaves.items() if name == GRADIENT or not first}
        inputs |= {("other", name): value for name, value in self.others.items()}
        found = named_vjp(outputs[: len(given)], inputs, given, differentiable=differentiable, retain=True)
        own = {name: value for (kind, name), value in found.items() if kind == "leaf"}
        return own, {name: value for (kind, name), value in found.items() if kind == "other"}


def record_step(
    node: Node, point: Point, linearization: Linearization, others: Values, *, differentiable: bool
) -> Step:
    """Apply the update with its graph, from points of its own."""
    own = cut(point.params, differentiable=differentiable)
    gradient = cut(linearization.gradient, differentiable=differentiable)
    values, rebuild = split_state(point.state)
    state = [cut_tensor(value, differentiable=differentiable) for value in values]
    read = {name: cut(others[name], differentiable=differentiable) for name in node.update_reads}
    with torch.enable_grad():
        params, new_state = node.advance(own, gradient, rebuild(state), {**others, **read})
    leaves: dict[str, Flat] = {OWN: own, GRADIENT: gradient}
    if state:
        leaves[STATE] = Flat.of({str(index): value for index, value in enumerate(state)})
    return Step(linearization, leaves, read, params, new_state)


@dataclass(frozen=True, eq=False)
class Begin:
    """A start that was handed over: the value, and points of those who did it."""

    params: Flat
    others: dict[str, Flat]


def begun(node: Node, others: Values, names: Collection[str], *, differentiable: bool) -> Begin | None:
    """Return the start of a solve as a function of the inputs in `names`; None if there are none."""
    if not names:
        return None
    read = {name: cut(others[name], differentiable=differentiable) for name in names}
    with torch.enable_grad():
        return Begin(Flat.of(node.start({**others, **read}).params), read)


class Sweep:
    """The reverse sweep over the steps of one solve, which it is given one at a time, last first."""

    def __init__(
        self, name: str, cotangent: Params, wanted: Sequence[str], begin: Begin | None, *, differentiable: bool
    ) -> None:
        """Start with a cotangent on the answer of problem `name`, whose solve began at a constant or at `begin`."""
        self._parts: dict[str, Params] = {}
        self._name, self._wanted, self._differentiable = name, tuple(wanted), differentiable
        self._begin = begin
        self._own: Params | None = cotangent
        self._state: list[Tensor] | None = None

    def back(self, step: Step, *, first: bool) -> None:
        """Go back over one step; the optimizer's state that the `first` of the solve starts from is a constant."""
        first = first and self._begin is None
        cotangent = filled(self._own, step.params)
        back, direct = step.pull(cotangent, self._state, differentiable=self._differentiable, first=first)
        names = self._wanted if first else (*self._wanted, self._name)
        product: dict[str, Params] = {}
        if GRADIENT in back and names:
            product = step.linearization.product(back[GRADIENT], names)
        for name in self._wanted:
            for part in (direct.get(name), product.get(name)):
                if part is not None:
                    self._parts[name] = add(self._parts.get(name), part)
        self._own = back.get(OWN)
        if self._name in product:
            self._own = add(self._own, product[self._name])
        self._state = tensors(back[STATE]) if STATE in back else None

    def ended(self) -> dict[str, Params]:
        """Return the cotangents on the inputs, that of who handed the start over among them."""
        if self._begin is not None and self._own is not None:
            start = self._begin.params
            given = Flat.of(self._own).in_roots_of(start)
            found = named_vjp(start.roots, self._begin.others, given, differentiable=self._differentiable)
            for name, part in found.items():
                self._parts[name] = add(self._parts.get(name), part)
        return self._parts
