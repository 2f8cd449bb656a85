"""What a linear solver is, and what it reports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from mlo.errors import ConfigError

Matvec = Callable[[Tensor], Tensor]

DIVERGED = 1e8
"""A relative residual from which on a solve has plainly diverged."""


@dataclass(frozen=True)
class LinearSolution:
    """The outcome of solving A x = b.

    Attributes:
        value: x, shape (n,); always finite.
        residual: |A x - b| / |b|, or 0 for b = 0; NaN if it was not measured.
        iterations: Products with A that were taken, that for a start included.
        converged: Whether the residual is known to be within the tolerance.
        curvature: The smallest p.A p / p.p that was met (NaN if the solver does not look); negative means that A is
            not positive definite, so that the point is not a minimum.
    """

    value: Tensor = field(repr=False)
    residual: float
    iterations: int
    converged: bool
    curvature: float


class AbstractLinearSolver(ABC):
    """Solves A x = b from products with A alone.

    An implementation must satisfy: if the solution reports `converged`, then |A x - b| <= tolerance * |b|. It returns
    its last finite x in any case, never NaN, and x = 0 only if b = 0 or no progress was possible (then `converged` is
    False).
    """

    @abstractmethod
    def solve(self, matvec: Matvec, b: Tensor, *, start: Tensor | None = None) -> LinearSolution:
        """Solve A x = b.

        Args:
            matvec: v -> A v for v of shape (n,).
            b: The right-hand side, shape (n,).
            start: A guess of x, shape (n,), such as the solution of a nearby system. Solvers that cannot use one, and
                all where it does not fit, do without.
        """


def failed(solution: LinearSolution) -> bool:
    """Tell whether a solution is of no use: it diverged, or the solver could not take one step.

    A residual of NaN was not measured, which is no failure.
    """
    # At 0 the residual is 1, so that there is nothing to look at below.
    stuck = not solution.converged and not solution.residual < 1.0 and not bool(solution.value.any())
    return stuck or solution.residual >= DIVERGED


def check_solver(owner: str, solver: object) -> None:
    """Check a setting that is a linear solver.

    Raises:
        ConfigError: If it is not an instance of `AbstractLinearSolver`.
    """
    if not isinstance(solver, AbstractLinearSolver):
        raise ConfigError(f"{owner}: solver must be an instance such as mlo.CG(), got {solver!r}")
