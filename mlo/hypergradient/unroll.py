"""Differentiate through the optimizer's steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from mlo.autodiff import cut, cut_tensor, named_vjp
from mlo.hypergradient.base import AbstractResponse, Node, Point, Pullback, Trace
from mlo.hypergradient.run import filled
from mlo.hypergradient.second_order import AbstractProduct, Exact, Linearization, check_product
from mlo.update import State, detach_state, split_state
from mlo.vector import Params, Values, add, detach, norm, tensors

_OWN, _GRADIENT, _STATE = "x", "g", "s"


@dataclass(frozen=True, eq=False)
class _Step:
    """One recorded update (x', s') = U(x, g, s, z): the points it starts from, and where it ended."""

    linearization: Linearization
    leaves: dict[str, Params]
    others: dict[str, Params]
    params: Params
    state: State

    def pull(
        self, cotangent: Params, state_cotangent: list[Tensor] | None, *, differentiable: bool
    ) -> tuple[dict[str, Params], dict[str, Params]]:
        """Return the cotangents on (x, g, s), and those on what the update itself reads."""
        outputs = [*tensors(self.params), *split_state(self.state)[0]]
        ends = state_cotangent if state_cotangent is not None else []
        given = [cotangent[name] for name in self.params] + ends
        inputs = {("leaf", name): value for name, value in self.leaves.items()}
        inputs |= {("other", name): value for name, value in self.others.items()}
        found = named_vjp(outputs[: len(given)], inputs, given, differentiable=differentiable, retain=True)
        own = {name: value for (kind, name), value in found.items() if kind == "leaf"}
        return own, {name: value for (kind, name), value in found.items() if kind == "other"}


@dataclass(frozen=True)
class Unroll(AbstractResponse):
    """x*(z) is the end of T update steps from a constant start, differentiated as such.

    With x_{t+1}, s_{t+1} = U(x_t, g_t, s_t, z) the user's real update (momentum, Adam, weight decay, ...) and
    g_t = G(x_t, z), the pullback goes through the steps from last to first: the vector-Jacobian product of U turns the
    cotangent on (x_{t+1}, s_{t+1}) into one on (x_t, g_t, s_t, z), and one second-order product turns that on g_t into
    more on (x_t, z).

    Exact to rounding for any number of steps, converged or not. Memory grows with the number of steps.

    Attributes:
        product: How second-order products are taken.

    Source: Forward and Reverse Gradient-Based Hyperparameter Optimization (Franceschi et al., 2017), algorithm 1.
    """

    product: AbstractProduct = field(default_factory=Exact, kw_only=True)

    differentiates_update: ClassVar[bool] = True
    differentiates_steps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the setting."""
        check_product("Unroll", self.product)

    def respond(self, node: Node, *, differentiable: bool) -> Trace:
        """Make the steps, recording each."""
        others = node.read()
        point, steps, losses = node.start(), [], []
        for _ in range(node.steps):
            linearization = self._linearize(node, point, others, differentiable=differentiable)
            step = _record(node, point, linearization, others, differentiable=differentiable)
            losses.append(linearization.seen.loss)
            steps.append(step)
            point = Point(step.params, step.state, linearization.seen.buffers)
            if not differentiable:
                point = Point(detach(point.params), detach_state(point.state), point.buffers)
        size = norm(detach(steps[-1].linearization.gradient)) if steps else None
        end = Point(detach(point.params), detach_state(point.state), point.buffers)
        return Trace(point.params, end, tuple(losses), size, len(steps), steps)

    def _linearize(self, node: Node, point: Point, others: Values, *, differentiable: bool) -> Linearization:
        # Inside an exact product of a problem above, everything below is differentiated exactly too.
        if differentiable:
            return Exact().linearize(node, point, others, differentiable=True)
        return self.product.linearize(node, point, others)

    def differences(self, below: int) -> int:
        """Return how many finite differences are nested in a pullback."""
        return self.product.differences(below)

    def pullback(
        self, node: Node, trace: Trace, cotangent: Params, wanted: Sequence[str], *, differentiable: bool
    ) -> Pullback:
        """Go through the recorded steps, last first."""
        steps: list[_Step] = trace.record
        total: dict[str, Params] = {}
        own: Params | None = cotangent
        state: list[Tensor] | None = None
        for index in range(len(steps) - 1, -1, -1):
            step = steps[index]
            back, direct = step.pull(filled(own, step.params), state, differentiable=differentiable)
            names = (*wanted, node.name) if index > 0 else tuple(wanted)
            product: dict[str, Params] = {}
            if _GRADIENT in back and names:
                product = step.linearization.product(back[_GRADIENT], names)
            for name in wanted:
                for part in (direct.get(name), product.get(name)):
                    if part is not None:
                        total[name] = add(total.get(name), part)
            own = back.get(_OWN)
            if node.name in product:
                own = add(own, product[node.name])
            state = tensors(back[_STATE]) if _STATE in back else None
        return Pullback(total)


def _record(
    node: Node, point: Point, linearization: Linearization, others: Values, *, differentiable: bool
) -> _Step:
    """Apply the update with its graph, from points of its own."""
    own = cut(point.params, differentiable=differentiable)
    gradient = cut(linearization.gradient, differentiable=differentiable)
    values, rebuild = split_state(point.state)
    state = [cut_tensor(value, differentiable=differentiable) for value in values]
    read = {name: cut(others[name], differentiable=differentiable) for name in node.update_reads}
    with torch.enable_grad():
        params, new_state = node.advance(own, gradient, rebuild(state), {**others, **read})
    leaves = {_OWN: own, _GRADIENT: gradient}
    if state:
        leaves[_STATE] = {str(index): value for index, value in enumerate(state)}
    return _Step(linearization, leaves, read, params, new_state)
