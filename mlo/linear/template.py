"""What all solvers but wrappers share: units, a right-hand side that is odd, a start."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar, final

import torch
from torch import Tensor

from mlo.linear.base import AbstractLinearSolver, LinearSolution, Matvec
from mlo.linear.start import Start


class AbstractUnitSolver(AbstractLinearSolver):
    """A solver that need only know how to solve A x = b for |b| = 1, from x = 0.

    Attributes:
        tol: Relative residual at which to stop; raised to what the dtype can resolve.
        uses_start: Whether a start makes the solve shorter. False for direct solvers, and where the approximation is
            the method.
    """

    tol: float
    uses_start: ClassVar[bool] = False

    @final
    def solve(self, matvec: Matvec, b: Tensor, *, start: Tensor | None = None) -> LinearSolution:
        """Solve A x = b.

        b is brought to length 1 first, so that squares neither overflow nor underflow. From a start x0 the solver
        works on what it leaves: A d = b - s A x0 with s = b.A x0 / |A x0|^2, to a tolerance that is still relative to
        |b|, and x = s x0 + d. This s makes |b - s A x0| least, so no start is worse than none but for its one product,
        which does not count towards the largest number of steps. A start that is good enough costs that product only.

        Args:
            matvec: v -> A v for v of shape (n,).
            b: The right-hand side, shape (n,).
            start: x0, shape (n,), or None. It is passed over if it is not shaped, typed and placed as b, is 0 or not
                finite, or if A x0 is.
        """
        largest = b.abs().max() if b.numel() else b.new_zeros(())
        size = float(largest)  # one look at the device
        if size == 0.0:
            return LinearSolution(torch.zeros_like(b), 0.0, iterations=0, converged=True, curvature=math.nan)
        if not math.isfinite(size):
            return nothing(b, 0, residual=math.inf)
        direction = b / largest  # by a tensor: a device would multiply by 1 / size, which can overflow
        length = torch.linalg.vector_norm(direction)
        found = self._from_start(matvec, direction / length, start if self.uses_start else None)
        return _representable(replace(found, value=found.value * length * largest), found)

    def _from_start(self, matvec: Matvec, b: Tensor, start: Tensor | None) -> LinearSolution:
        tol = attainable(self.tol, b)
        begun = Start.take(matvec, b, start)
        if begun.size <= tol:
            return LinearSolution(begun.value, begun.size, begun.products, True, begun.curvature)
        found = self._solve(matvec, begun.rest / begun.size, tol / begun.size)
        return begun.plus(found) if begun.products else found

    @abstractmethod
    def _solve(self, matvec: Matvec, b: Tensor, tol: float) -> LinearSolution:
        """Solve A x = b from x = 0.

        Args:
            matvec: v -> A v for v of shape (n,).
            b: The right-hand side, shape (n,), n >= 1, of length 1.
            tol: The |A x - b| from which on x counts as converged.
        """


def nothing(b: Tensor, iterations: int, residual: float = 1.0) -> LinearSolution:
    """Return what is left where A or b is not finite: x = 0, whose relative residual is 1 if b is finite."""
    return LinearSolution(torch.zeros_like(b), residual, iterations, converged=False, curvature=math.nan)


def attainable(tol: float, b: Tensor) -> float:
    """Return the tolerance, raised to what the dtype of `b` can resolve."""
    return max(tol, 32.0 * torch.finfo(b.dtype).eps)


def known_residual(residual: float, size: float, steepest: float, eps: float, peak: float = 1.0) -> float:
    """Return the residual of a recursion, but no less than what rounding leaves of it.

    Args:
        residual: |A x - b| as the recursion has it, for |b| = 1.
        size: The norm of where it ended.
        steepest: The largest |A p| / |p| that was met.
        eps: Of the dtype.
        peak: The largest residual on the way.
    """
    rounding = eps * max(peak, steepest * size)
    return max(residual, rounding) if math.isfinite(rounding) else residual


def _representable(solution: LinearSolution, unit: LinearSolution) -> LinearSolution:
    """Return `solution`, or what is left of it where its dtype cannot hold it.

    Below the smallest normal number digits are lost, above the largest all is; `unit` is the solution before scaling.
    """
    peak = float(solution.value.abs().max())
    if math.isfinite(peak) and peak >= torch.finfo(solution.value.dtype).tiny:
        return solution
    if not math.isfinite(peak):
        solution = replace(solution, value=torch.zeros_like(unit.value))
    lost = not bool(solution.value.any())
    return replace(solution, residual=1.0 if lost else unit.residual, converged=False)
