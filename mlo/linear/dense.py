"""Write the matrix down and factorize it: the oracle for the other solvers, and right for small problems."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mlo.checks import check_tol
from mlo.linear.base import LinearSolution, Matvec
from mlo.linear.template import AbstractUnitSolver, nothing


@dataclass(frozen=True)
class Dense(AbstractUnitSolver):
    """x = A^-1 b by n products with unit vectors and an LU factorization; the least-squares x if A is singular.

    A need not be symmetric. Costs n products and n^2 memory.

    Attributes:
        tol: Relative residual up to which the solution counts as converged.

    Examples:
        >>> import mlo, torch
        >>> A, b = torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), torch.tensor([1.0, 2.0])  # not symmetric
        >>> mlo.Dense().solve(lambda v: A @ v, b).value
        tensor([-2.,  1.])
    """

    tol: float = 1e-6

    def __post_init__(self) -> None:
        """Check the settings."""
        check_tol("Dense", self.tol)

    def _solve(self, matvec: Matvec, b: Tensor, tol: float) -> LinearSolution:
        identity = torch.eye(b.numel(), dtype=b.dtype, device=b.device)
        a = torch.stack([matvec(column) for column in identity], dim=1)
        if not bool(torch.isfinite(a).all()):
            return nothing(b, b.numel())
        x, _ = torch.linalg.solve_ex(a, b)
        residual = self._residual(a, x, b)
        if not residual <= tol:  # singular, exactly or but for rounding
            x = torch.linalg.pinv(a) @ b
            residual = self._residual(a, x, b)
        curvature = float(torch.linalg.eigvalsh((a + a.mT) / 2)[0])
        return LinearSolution(x, residual, b.numel(), residual <= tol, curvature)

    def _residual(self, a: Tensor, x: Tensor, b: Tensor) -> float:
        residual = float(torch.linalg.vector_norm(a @ x - b) / torch.linalg.vector_norm(b))
        return math.inf if math.isnan(residual) else residual
