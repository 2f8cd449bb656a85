"""Differentiate the condition that the answer satisfies, not the steps that found it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from mlo.hypergradient.base import Node, Point, Pullback, Trace
from mlo.hypergradient.root_response import AbstractRootResponse
from mlo.hypergradient.run import filled, own_gradient
from mlo.hypergradient.second_order import AbstractProduct, Exact, check_product
from mlo.hypergradient.system import System
from mlo.linear.base import AbstractLinearSolver
from mlo.linear.cg import CG
from mlo.rng import replayed
from mlo.vector import Params, Values, ravel, scaled, unravel


@dataclass(frozen=True)
class Implicit(AbstractRootResponse):
    """x*(z) is the stationary point G(x*(z), z) = 0, so that c . dx*/dz = - u . dG/dz with (dG/dx)^T u = c.

    Exact at a stationary point, up to the tolerance of the linear solver; away from one it is the formula evaluated
    there. Memory does not grow with the number of steps. G is the gradient of the loss, and of the proximal term of
    `mlo.interleave`. An update that comes to rest elsewhere, such as one with weight decay of its own, is refused:
    `FixedPoint` is for those.

    Attributes:
        solver: How the linear system is solved; `CG` and `Neumann` need dG/dx symmetric, as it is when G is a
            gradient.
        product: How products with the derivatives of G are taken.
        warm_start: Whether an engine starts each linear solve from the solution of the outer step before.
        strict: Whether a solve that does not converge (the linear one, or one that misses the problem's tolerance)
            raises `UnconvergedError` instead of a warning.

    Source: Meta-Learning with Implicit Gradients (Rajeswaran et al., 2019), equation 6; Optimizing Millions of
    Hyperparameters by Implicit Differentiation (Lorraine, Vicol, Duvenaud, 2020), theorem 1.

    Examples:
        >>> import mlo, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.w**2, torch.tensor(3.0), reads=["w"])
        >>> w = mlo.Problem("w", lambda v, _: (v.w - v.x) ** 2, torch.zeros(()), reads=["x"], update=torchopt.sgd(0.25),
        ...             steps=2, response=mlo.Implicit(mlo.CG()))
        >>> mlo.hypergradient(mlo.ProblemGraph([x, w]), of="x")  # 2 w dw/dx: w = 2.25 as it ended, dw/dx = 1 as at rest
        tensor(4.5000)
    """

    solver: AbstractLinearSolver = field(default_factory=CG)
    product: AbstractProduct = field(default_factory=Exact, kw_only=True)

    assumes_stationarity: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        check_product("Implicit", self.product)

    def system(self, node: Node, end: Point, others: Values) -> System:
        """Return G(x, z) = 0."""
        return _Stationarity(node, end, others)

    def differences(self, below: int) -> int:
        """Return how many finite differences are nested in a pullback."""
        return self.product.differences(below)

    def pullback(
        self, node: Node, trace: Trace, cotangent: Params, wanted: Sequence[str], *, differentiable: bool
    ) -> Pullback:
        """Solve for the adjoint, then take one product."""
        if differentiable or self.product.exact:
            return super().pullback(node, trace, cotangent, wanted, differentiable=differentiable)
        with replayed(trace.record.random):
            return self._by_differences(node, trace, cotangent, wanted)

    def _by_differences(self, node: Node, trace: Trace, cotangent: Params, wanted: Sequence[str]) -> Pullback:
        system: _Stationarity = trace.record
        at, name = system.end.params, node.name
        local = self.product.linearize(system.node, system.end, system.others, stationary=True)

        def matvec(v: Tensor) -> Tensor:
            product = local.product(unravel(v, at), (name,))
            return ravel(filled(product.get(name), at))

        solve = replace(self.solve(node, trace), exact=False)
        solution = solve(matvec, ravel(cotangent), start=self.start(node))
        return Pullback(local.product(scaled(-1.0, unravel(solution.value, at)), wanted), solution)


class _Stationarity(System):
    """G(x, z) = 0."""

    def __init__(self, node: Node, end: Point, others: Values) -> None:
        super().__init__(node, end.params, others)
        self.end = end

    def evaluate(self, unknown: Params, others: Values) -> Tensor:
        at, name = replace(self.end, params=unknown), self.node.name
        seen = self.node.gradient(at, others, (name,), differentiable=True, stationary=True)
        return ravel(own_gradient(seen, self.node))
