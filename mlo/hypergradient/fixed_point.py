"""Differentiate the fixed point of the update rule that the user runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from mlo.autodiff import cut
from mlo.hypergradient.base import Node, Point
from mlo.hypergradient.root_response import AbstractRootResponse
from mlo.hypergradient.run import own_gradient
from mlo.hypergradient.system import System
from mlo.linear.base import AbstractLinearSolver
from mlo.linear.gmres import GMRES
from mlo.update import split_state
from mlo.vector import Params, Values, mapped, ravel, zeros_like

_STATE = "state/"


@dataclass(frozen=True)
class FixedPoint(AbstractRootResponse):
    """x*(z) is where the update rule rests: (x*, s*) = U(x*, G(x*, z), s*, z), with s the optimizer's state.

    With y = (x, s) and F(y, z) the right-hand side, c . dx*/dz = u . dF/dz where (I - dF/dy)^T u = (c, 0).

    Right for whatever the update does at rest: momentum, weight decay of its own (AdamW), a proximal step after any
    optimizer. Where an update rests at a stationary point of the loss this equals `Implicit`, with a system that
    carries the optimizer's state and is not symmetric. State that only counts (the number of updates) is a constant,
    so a schedule counts with its last step size. Exact at a fixed point, up to the tolerance of the linear solver; away
    from one it is the formula evaluated there.

    Adam and its kin divide by the root of a second moment. At rest it is zero where the gradient is, and the formula
    then has no derivative there; a few hundred steps from rest it is badly scaled: prefer `Implicit` where the update
    has no decay of its own.

    Attributes:
        solver: How the linear system is solved; it has to do without symmetry. `Neumann(step_size=1.0)` equals
            backpropagation through further steps at the fixed point.
        warm_start: Whether an engine starts each linear solve from the solution of the outer step before.
        strict: Whether a solve that does not converge (the linear one, or one that misses the problem's tolerance)
            raises `UnconvergedError` instead of a warning.

    Source: Efficient and Modular Implicit Differentiation (Blondel et al., 2022), section 2.1, equation 3.

    Examples:
        >>> import mlo, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.w**2, torch.tensor(3.0), reads=["w"])
        >>> w = mlo.Problem("w", lambda v, _: (v.w - v.x) ** 2, torch.zeros(()), reads=["x"], update=torchopt.sgd(0.25),
        ...             steps=2, response=mlo.FixedPoint())
        >>> mlo.hypergradient(mlo.ProblemGraph([x, w]), of="x")  # dw/dx = 1 where the update rests
        tensor(4.5000)
    """

    solver: AbstractLinearSolver = field(default_factory=GMRES)

    differentiates_update: ClassVar[bool] = True

    def system(self, node: Node, end: Point, others: Values) -> System:
        """Return y - F(y, z) = 0."""
        return _Rest(node, end, others)


class _Rest(System):
    """y - F(y, z) = 0, with y the variable and those tensors of the state that move with it."""

    def __init__(self, node: Node, end: Point, others: Values) -> None:
        self._values, self._rebuild = split_state(end.state)
        self._end = end
        self._moving = self._find_moving(node, others)
        state = {f"{_STATE}{place}": self._values[place] for place in self._moving}
        super().__init__(node, {**end.params, **state}, others)

    def _find_moving(self, node: Node, others: Values) -> list[int]:
        """Return the places of the state's tensors that depend on variable or gradient; the others only count."""
        if not self._values:
            return []
        with torch.enable_grad():
            x = cut(self._end.params, differentiable=False)
            g = cut(mapped(torch.ones_like, x), differentiable=False)
            _, state = node.advance(x, g, self._end.state, others)
        return [place for place, value in enumerate(split_state(state)[0]) if value.requires_grad]

    def variable(self, y: Tensor) -> Params:
        return _variable(super().variable(y))

    def unknown_at(self, answer: Params) -> Tensor:
        return ravel({**self.unknown, **answer})

    def widened(self, cotangent: Params) -> Tensor:
        return ravel({**zeros_like(self.unknown), **cotangent})

    def evaluate(self, unknown: Params, others: Values) -> Tensor:
        params, values = _variable(unknown), list(self._values)
        for place in self._moving:
            values[place] = unknown[f"{_STATE}{place}"]
        seen = self.node.gradient(replace(self._end, params=params), others, (self.node.name,), differentiable=True)
        moved, state = self.node.advance(params, own_gradient(seen, self.node), self._rebuild(values), others)
        after = split_state(state)[0]
        new = {**moved, **{f"{_STATE}{place}": after[place] for place in self._moving}}
        return ravel(mapped(torch.sub, unknown, {name: new[name] for name in unknown}))


def _variable(unknown: Params) -> Params:
    return {name: value for name, value in unknown.items() if not name.startswith(_STATE)}
