"""Differentiate the condition that the answer satisfies, not the steps that found it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from mlo.hypergradient.adjoint import AdjointSolve
from mlo.hypergradient.base import AbstractResponse, Node, Point, Pullback, Trace
from mlo.hypergradient.rest import check_rest
from mlo.hypergradient.root import attach_root, root_vjp
from mlo.hypergradient.run import filled, own_gradient, run
from mlo.hypergradient.second_order import AbstractProduct, Exact, check_product
from mlo.hypergradient.system import System
from mlo.linear.base import AbstractLinearSolver, LinearSolution, check_solver
from mlo.linear.cg import CG
from mlo.rng import replayed
from mlo.vector import Params, Values, ravel, scaled, unravel


@dataclass(frozen=True)
class Implicit(AbstractResponse):
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
    """

    solver: AbstractLinearSolver = field(default_factory=CG)
    product: AbstractProduct = field(default_factory=Exact, kw_only=True)
    warm_start: bool = field(default=True, kw_only=True)
    strict: bool = field(default=False, kw_only=True)

    assumes_rest: ClassVar[bool] = True
    assumes_stationarity: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the settings."""
        check_solver("Implicit", self.solver)
        check_product("Implicit", self.product)

    def respond(self, node: Node, *, differentiable: bool) -> Trace:
        """Run the optimizer, then, if asked to, tie its end to the inputs as the root that it stands for."""
        trace = run(node)
        check_rest(node, trace, strict=self.strict)
        others = node.read()
        split = None if differentiable else node.partial(trace.end, others)
        system = _Stationarity(node if split is None else split[1], trace.end, others)
        if not differentiable:
            return replace(trace, record=system)
        solve = AdjointSolve(node, self.solver, self.strict, trace)
        root = attach_root(system.residual, solve, ravel(trace.end.params), system.inputs)
        return replace(trace, answer=unravel(root, trace.end.params), record=system)

    def differences(self, below: int) -> int:
        """Return how many finite differences are nested in a pullback."""
        return self.product.differences(below)

    def pullback(
        self, node: Node, trace: Trace, cotangent: Params, wanted: Sequence[str], *, differentiable: bool
    ) -> Pullback:
        """Solve for the adjoint, then take one product."""
        system: _Stationarity = trace.record
        solve = AdjointSolve(node, self.solver, self.strict, trace)
        start = node.adjoint if self.warm_start else None
        if differentiable or self.product.exact:
            x, c = ravel(trace.answer), ravel(cotangent)
            parts, solution = root_vjp(
                system.residual, solve, x, system.inputs, c, start=start, differentiable=differentiable
            )
            return Pullback(system.named(parts, wanted), solution)
        with replayed(system.random):
            result, solution = self._by_differences(system, solve, cotangent, wanted, start)
        return Pullback(result, solution)

    def _by_differences(
        self, system: _Stationarity, solve: AdjointSolve, cotangent: Params, wanted: Sequence[str], start: Tensor | None
    ) -> tuple[dict[str, Params], LinearSolution]:
        at, node = system.end.params, system.node
        local = self.product.linearize(node, system.end, system.others, stationary=True)

        def matvec(v: Tensor) -> Tensor:
            product = local.product(unravel(v, at), (node.name,))
            return ravel(filled(product.get(node.name), at))

        solution = solve(matvec, ravel(cotangent), start=start)
        return local.product(scaled(-1.0, unravel(solution.value, at)), wanted), solution


class _Stationarity(System):
    """G(x, z) = 0."""

    def __init__(self, node: Node, end: Point, others: Values) -> None:
        super().__init__(node, end.params, others)
        self.end = end

    def evaluate(self, unknown: Params, others: Values) -> Tensor:
        at, name = replace(self.end, params=unknown), self.node.name
        seen = self.node.gradient(at, others, (name,), differentiable=True, stationary=True)
        return ravel(own_gradient(seen, self.node))
