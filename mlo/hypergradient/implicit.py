"""Differentiate the condition that the answer satisfies, not the steps that found it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from mlo.errors import ConfigError, DivergenceError
from mlo.hypergradient.base import AbstractResponse, Node, Point, Pullback, Trace
from mlo.hypergradient.root import attach_root, root_vjp
from mlo.hypergradient.run import check_finite, filled, own_gradient, run
from mlo.hypergradient.second_order import AbstractProduct, Exact, check_product
from mlo.linear.base import AbstractLinearSolver, LinearSolution, failed, warn_if_worse_than_nothing
from mlo.linear.cg import CG
from mlo.rng import RandomState, replayed
from mlo.vector import Params, Values, not_finite, ravel, scaled, unravel, zeros_like


@dataclass(frozen=True)
class Implicit(AbstractResponse):
    """x*(z) is the stationary point G(x*(z), z) = 0, so that c . dx*/dz = - u . dG/dz with (dG/dx)^T u = c.

    Exact at a stationary point, up to the tolerance of the linear solver; away from one it is the formula evaluated
    there. Memory does not grow with the number of steps. G is the gradient of the loss, and of the proximal term of
    `mlo.interleave`. An update that comes to rest elsewhere, such as one with weight decay of its own, is refused.

    Attributes:
        solver: How the linear system is solved; `CG` and `Neumann` need dG/dx symmetric, as it is when G is a
            gradient.
        product: How products with the derivatives of G are taken.

    Source: Meta-Learning with Implicit Gradients (Rajeswaran et al., 2019), equation 6; Optimizing Millions of
    Hyperparameters by Implicit Differentiation (Lorraine, Vicol, Duvenaud, 2020), theorem 1.
    """

    solver: AbstractLinearSolver = field(default_factory=CG)
    product: AbstractProduct = field(default_factory=Exact, kw_only=True)

    assumes_stationarity: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the settings."""
        if not isinstance(self.solver, AbstractLinearSolver):
            raise ConfigError(f"Implicit: solver must be an instance such as mlo.CG(), got {self.solver!r}")
        check_product("Implicit", self.product)

    def respond(self, node: Node, *, differentiable: bool) -> Trace:
        """Run the optimizer, then, if asked to, tie its end to the inputs as the root that it stands for."""
        trace = run(node)
        system = _System(node, trace.end, node.read())
        if not differentiable:
            return replace(trace, record=system)
        root = attach_root(system.residual, self.solver, ravel(trace.end.params), system.inputs)
        return replace(trace, answer=unravel(root, trace.end.params), record=system)

    def differences(self, below: int) -> int:
        """Return how many finite differences are nested in a pullback."""
        return self.product.differences(below)

    def pullback(
        self, node: Node, trace: Trace, cotangent: Params, wanted: Sequence[str], *, differentiable: bool
    ) -> Pullback:
        """Solve for the adjoint, then take one product."""
        system: _System = trace.record
        if differentiable or isinstance(self.product, Exact):
            x, c = ravel(trace.answer), ravel(cotangent)
            parts, solution = root_vjp(
                system.residual, self.solver, x, system.inputs, c, differentiable=differentiable
            )
            result = system.named(parts, wanted)
        else:
            with replayed(system.random):
                result, solution = self._by_differences(node, trace.end, system.others, cotangent, wanted)
        if failed(solution):
            check_finite(node.name, trace)
            raise DivergenceError(_explain(node.name, cotangent, solution))
        warn_if_worse_than_nothing(node.name, solution)
        return Pullback(result, solution)

    def _by_differences(
        self, node: Node, end: Point, others: Values, cotangent: Params, wanted: Sequence[str]
    ) -> tuple[dict[str, Params], LinearSolution]:
        local = self.product.linearize(node, end, others, stationary=True)

        def matvec(v: Tensor) -> Tensor:
            product = local.product(unravel(v, end.params), (node.name,))
            return ravel(filled(product.get(node.name), end.params))

        solution = self.solver.solve(matvec, ravel(cotangent))
        adjoint = unravel(solution.value, end.params)
        return local.product(scaled(-1.0, adjoint), wanted), solution


class _System:
    """The equation G(x, z) = 0 in the form that `root` works with: one vector, and a tuple of tensors."""

    def __init__(self, node: Node, end: Point, others: Values) -> None:
        self._node, self._end, self.others = node, end, others
        # Every evaluation of G sees the same dropout masks: otherwise it is another function each time.
        self.random = RandomState.capture()
        self.inputs: tuple[Tensor, ...] = tuple(value for params in others.values() for value in params.values())

    def residual(self, x: Tensor, *inputs: Tensor) -> Tensor:
        """Return G as a vector."""
        remaining = iter(inputs)
        others = {name: {key: next(remaining) for key in params} for name, params in self.others.items()}
        at = replace(self._end, params=unravel(x, self._end.params))
        node = self._node
        with replayed(self.random):
            seen = node.gradient(at, others, (node.name,), differentiable=True, stationary=True)
        return ravel(own_gradient(seen, node))

    def named(self, parts: list[Tensor | None], wanted: Sequence[str]) -> dict[str, Params]:
        """Group the cotangents on `inputs` by problem."""
        remaining, result = iter(parts), {}
        for name, params in self.others.items():
            found = {key: next(remaining) for key in params}
            if name in wanted and any(value is not None for value in found.values()):
                zero = zeros_like(params)
                result[name] = {key: zero[key] if value is None else value for key, value in found.items()}
        return result


def _explain(name: str, cotangent: Params, solution: LinearSolution) -> str:
    if not_finite(cotangent) is not None:
        return f"a loss that reads {name!r} is not finite, or its gradient there is not: check that loss and its batch"
    found = f"relative residual {solution.residual:.1e} after {solution.iterations} products, smallest curvature"
    cure = "check that its loss has a strict minimum there, add curvature (a ridge term), or try another solver"
    what = f"problem {name!r}: the linear solve of its implicit response failed"
    return f"{what} ({found} {solution.curvature:.1e}): {cure}"
