"""One linear solve for an adjoint: with a start, with its report, and with what is to happen if it fails."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from mlo.errors import DivergenceError, UnconvergedError
from mlo.hypergradient.base import Node, Trace
from mlo.hypergradient.promises import checked_solution
from mlo.hypergradient.run import check_finite
from mlo.linear.base import AbstractLinearSolver, LinearSolution, Matvec, failed
from mlo.vector import not_finite


@dataclass(frozen=True)
class AdjointSolve:
    """Solves A^T u = c for problem `node`.

    Attributes:
        node: Whose adjoint it is.
        solver: How.
        strict: Whether a solve that did not converge is an error; else it is noted for a warning.
        trace: The solve of the problem itself: to blame, if it is what was not finite.
        exact: Whether products are taken by double backward, and counted so.
    """

    node: Node
    solver: AbstractLinearSolver
    strict: bool
    trace: Trace
    exact: bool = True

    def __call__(self, matvec: Matvec, cotangent: Tensor, *, start: Tensor | None = None) -> LinearSolution:
        """Solve, from `start` if it is given.

        Raises:
            DivergenceError: If there is no solution to speak of.
            UnconvergedError: If the solve did not converge and `strict` is set.
        """
        found = self.solver.solve(self._counted(matvec) if self.exact else matvec, cotangent, start=start)
        solution = checked_solution(self.node.name, self.solver, found, cotangent)
        if self.exact:
            self.node.multiplied()  # the one that follows, with the adjoint
        if failed(solution):
            check_finite(self.node.name, self.trace)
            what, cure, problem = _explain(self.node.name, cotangent, solution)
            raise DivergenceError(what, cure, problem=problem)
        check_converged(self.node, solution, strict=self.strict)
        return solution

    def _counted(self, matvec: Matvec) -> Matvec:
        def product(v: Tensor) -> Tensor:
            self.node.multiplied()
            return matvec(v)

        return product


def check_converged(node: Node, solution: LinearSolution, *, strict: bool) -> None:
    """Let `node` note a solve that did not converge, for the warning at the end.

    Raises:
        UnconvergedError: If `strict` is set instead.
    """
    if solution.converged:
        return
    if strict:
        raise UnconvergedError(unconverged(node.name, solution))
    if not math.isnan(solution.residual):  # NaN: the user asked not to measure it
        node.note(solution)


def spoilt_cotangent(name: str) -> tuple[str, str]:
    """Return what to tell of a cotangent on the answer of problem `name` that is not finite, and the cure."""
    return f"a loss that reads {name!r} is not finite, or its gradient there is not", "check that loss and its batch"


def unconverged(name: str, solution: LinearSolution) -> str:
    """Return what to tell of a linear solve for problem `name` that did not converge."""
    return (
        f"problem {name!r}: the adjoint solve of its response has not converged: {_figures(solution)}; a hypergradient "
        "through it is off by about as much: give it more steps, or a larger tol; where that does not help, curvature "
        "(a ridge term in the loss, or mlo.Damped around a solver), or another solver or rule"
    )


def _figures(solution: LinearSolution) -> str:
    done = f"relative residual {solution.residual:.1e} after {solution.iterations} steps"
    known = not math.isnan(solution.curvature)
    return f"{done}, smallest curvature {solution.curvature:.1e}" if known else done


def _explain(name: str, cotangent: Tensor, solution: LinearSolution) -> tuple[str, str, str | None]:
    """Return what is wrong, the cure, and the problem that is to blame, if it is known."""
    if not_finite({"cotangent": cotangent}) is not None:
        return *spoilt_cotangent(name), None
    cure = "check that its loss has a strict minimum there, add curvature (a ridge term), or try another solver"
    return f"problem {name!r}: the adjoint solve of its response failed ({_figures(solution)})", cure, name
