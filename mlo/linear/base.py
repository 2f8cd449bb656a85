"""What a linear solver is, and what it reports."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mlo.errors import ConfigError

Matvec = Callable[[Tensor], Tensor]

DIVERGED = 1e8
"""A relative residual from which on a solve has plainly diverged."""

log = logging.getLogger("mlo")


@dataclass(frozen=True)
class LinearSolution:
    """The outcome of solving A x = b.

    Attributes:
        value: x, shape (n,); always finite.
        residual: |A x - b| / |b|, or 0 for b = 0.
        iterations: Products with A that were taken.
        converged: Whether the residual is within the tolerance.
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
    def solve(self, matvec: Matvec, b: Tensor) -> LinearSolution:
        """Solve A x = b.

        Args:
            matvec: v -> A v for v of shape (n,).
            b: The right-hand side, shape (n,).
        """


def failed(solution: LinearSolution) -> bool:
    """Tell whether a solution is of no use: it diverged, or the solver could not take one step."""
    stuck = not solution.converged and not bool(solution.value.any())
    return stuck or not solution.residual < DIVERGED


def warn_if_worse_than_nothing(name: str, solution: LinearSolution) -> None:
    """Log a warning if x = 0 would have had a smaller residual than the solution for problem `name`."""
    if not solution.converged and solution.residual > 1.0:
        log.warning(
            "problem %r: the linear solve of its implicit response has not converged: relative residual %.1e after %d "
            "products, smallest curvature %.1e; its hypergradient may be far off: take more steps, another solver, or "
            "a ridge term in the loss",
            name,
            solution.residual,
            solution.iterations,
            solution.curvature,
        )


def check_settings(solver: str, max_steps: object, tol: object) -> None:
    """Check what iterative solvers have in common.

    Raises:
        ConfigError: If `max_steps` is not a whole number >= 1, or `tol` not a number >= 0.
    """
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise ConfigError(f"{solver}: max_steps must be a whole number >= 1, got {max_steps!r}")
    if not isinstance(tol, int | float) or not tol >= 0:
        raise ConfigError(f"{solver}: tol must be a number >= 0, got {tol!r}")


def zero_solution(b: Tensor) -> LinearSolution:
    """Return the solution of A x = 0."""
    return LinearSolution(torch.zeros_like(b), residual=0.0, iterations=0, converged=True, curvature=float("nan"))


def no_solution(b: Tensor, iterations: int) -> LinearSolution:
    """Return what is left where A or b is not finite: nothing."""
    nan = float("nan")
    return LinearSolution(torch.zeros_like(b), residual=nan, iterations=iterations, converged=False, curvature=nan)


def solved_for_unit(b: Tensor, solve: Callable[[Tensor], LinearSolution]) -> LinearSolution:
    """Solve A x = b by `solve` for the direction of b, whose square neither overflows nor underflows."""
    largest = float(b.abs().max()) if b.numel() else 0.0
    if largest == 0.0:
        return zero_solution(b)
    if not math.isfinite(largest):
        return no_solution(b, 0)
    direction = b / largest
    size = torch.linalg.vector_norm(direction)
    found = solve(direction / size)
    return replace(found, value=found.value * (size * largest))


def attainable(tol: float, b: Tensor) -> float:
    """Return the tolerance, raised to what the dtype of `b` can resolve."""
    return max(tol, 4.0 * torch.finfo(b.dtype).eps)
