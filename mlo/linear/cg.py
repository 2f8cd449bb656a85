"""Conjugate gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mlo.checks import check_count, check_tol
from mlo.linear.base import LinearSolution, Matvec
from mlo.linear.template import AbstractUnitSolver, known_residual


@dataclass(frozen=True)
class CG(AbstractUnitSolver):
    """Conjugate gradients for a symmetric A, definite or not.

    x_{k+1} = x_k + a p,  r_{k+1} = r_k - a A p,  a = r.r / p.A p,  p <- r_{k+1} + (r_{k+1}.r_{k+1} / r.r) p.

    Negative curvature does not stop it (the system still has its solution; the report says what was met); only a
    direction without curvature beyond rounding, or a product that is not finite, does. While A shows itself positive
    definite the last iterate is returned, which is nearest to the solution in the norm of A; otherwise the iterate of
    least residual, which is 0 if none beat it. The residual that is reported is that of the recursion, but no less than
    what rounding leaves of the largest residual met and of A x.

    Attributes:
        max_steps: Largest number of products with A.
        tol: Relative residual at which to stop; raised to what the dtype can resolve.

    Source: Methods of Conjugate Gradients for Solving Linear Systems (Hestenes, Stiefel, 1952), section 3.

    Examples:
        >>> import mlo, torch
        >>> A, b = torch.tensor([[2.0, 1.0], [1.0, 3.0]]), torch.tensor([3.0, 4.0])
        >>> found = mlo.CG().solve(lambda v: A @ v, b)
        >>> found.converged, found.iterations
        (True, 2)
        >>> torch.allclose(found.value, torch.ones(2))
        True
    """

    max_steps: int = 100
    tol: float = 1e-10

    uses_start: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the settings."""
        check_count("CG", "max_steps", self.max_steps)
        check_tol("CG", self.tol)

    def _solve(self, matvec: Matvec, b: Tensor, tol: float) -> LinearSolution:
        eps = torch.finfo(b.dtype).eps
        x, r, p = torch.zeros_like(b), b, b
        rr = torch.dot(r, r)
        best, least = (x, 0.0), 1.0
        size = 0.0
        residual, peak, curvature, steepest, steps = 1.0, 1.0, math.inf, 0.0, 0
        while steps < self.max_steps and residual > tol:
            ap = matvec(p)
            steps += 1
            bent = torch.dot(p, ap)
            step = rr / bent
            after, left = x + step * p, r - step * ap
            new_rr, length = torch.dot(left, left), torch.linalg.vector_norm(after)
            # One look at the device for all that is to be decided.
            pap, pp, square, length = torch.stack([bent, torch.dot(p, p), new_rr, length]).tolist()
            curvature, steepest = min(curvature, pap / pp), max(steepest, abs(pap / pp))
            if not abs(pap) > max(4 * eps * steepest, torch.finfo(b.dtype).tiny) * pp:
                break
            if not math.isfinite(square):
                break
            x, r, size, residual = after, left, length, math.sqrt(square)
            peak = max(peak, residual)
            if residual < least:
                best, least = (x, size), residual
            p, rr = r + (new_rr / rr) * p, new_rr
        if not curvature > 4 * eps * steepest:
            (x, size), residual = best, least
        residual = known_residual(residual, size, steepest, eps, peak)
        return LinearSolution(x, residual, steps, residual <= tol, curvature)
