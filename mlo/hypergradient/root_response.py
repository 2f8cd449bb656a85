"""What rules have in common that take an answer for the root of an equation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from mlo.hypergradient.adjoint import AdjointSolve
from mlo.hypergradient.base import AbstractResponse, Node, Point, Pullback, Trace
from mlo.hypergradient.rest import check_rest
from mlo.hypergradient.root import attach_root, root_vjp
from mlo.hypergradient.run import run, second_derivative
from mlo.hypergradient.system import System
from mlo.linear.base import AbstractLinearSolver, check_solver
from mlo.vector import Params, Values, ravel


@dataclass(frozen=True)
class AbstractRootResponse(AbstractResponse):
    """The answer is the beginning of y*(z), the root of r(y, z) = 0, so that c . dy*/dz follows from one linear solve.

    Attributes:
        solver: How the linear system is solved.
        warm_start: Whether an engine starts each linear solve from the solution of the outer step before.
        strict: Whether a solve that does not converge raises `UnconvergedError` instead of a warning.
    """

    solver: AbstractLinearSolver
    warm_start: bool = field(default=True, kw_only=True)
    strict: bool = field(default=False, kw_only=True)

    assumes_rest: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the solver."""
        check_solver(type(self).__name__, self.solver)

    @abstractmethod
    def system(self, node: Node, end: Point, others: Values) -> System:
        """Return the equation that holds where a solve of `node` ended."""

    def respond(self, node: Node, *, differentiable: bool) -> Trace:
        """Run the optimizer, then, if asked to, tie its end to the inputs as the root that it stands for."""
        trace = run(node)
        check_rest(node, trace, strict=self.strict)
        others = node.read()
        split = None if differentiable else node.partial(trace.end, others)
        system = self.system(node if split is None else split[1], trace.end, others)
        if not differentiable:
            return replace(trace, record=system)
        root = attach_root(system.residual, self.solve(node, trace), ravel(system.unknown), system.inputs)
        return replace(trace, answer=system.variable(root), record=system)

    def pullback(
        self, node: Node, trace: Trace, cotangent: Params, wanted: Sequence[str], *, differentiable: bool
    ) -> Pullback:
        """Solve for the adjoint, then take one product."""
        system: System = trace.record
        y, c = system.unknown_at(trace.answer), system.widened(cotangent)
        solve, start = self.solve(node, trace), self.start(node)
        with second_derivative(node.name):
            parts, solution = root_vjp(
                system.residual, solve, y, system.inputs, c, start=start, differentiable=differentiable
            )
        return Pullback(system.named(parts, wanted), solution)

    def solve(self, node: Node, trace: Trace) -> AdjointSolve:
        """Return the linear solve for the adjoint of `node`."""
        return AdjointSolve(node, self.solver, self.strict, trace)

    def start(self, node: Node) -> Tensor | None:
        """Return where that solve starts, None for zero."""
        return node.adjoint if self.warm_start else None
