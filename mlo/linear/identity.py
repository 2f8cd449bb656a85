"""A taken for a multiple of the identity: no solve at all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mlo.checks import check_positive, check_tol, checked_flag
from mlo.linear.base import LinearSolution, Matvec
from mlo.linear.template import AbstractUnitSolver


@dataclass(frozen=True)
class Identity(AbstractUnitSolver):
    """x = s b, as if A = I / s: the cheapest answer that is not zero.

    The first term of the Neumann series, and backpropagation through the last step of gradient descent with step size
    s. The hypergradient is off by what A differs from I / s, in length and direction; the residual says how far.

    Attributes:
        step_size: s.
        measure: Whether to take the one product that the residual |s A b - b| / |b| and the curvature need. Without
            it they are NaN, and the solution does not count as converged.
        tol: Relative residual up to which the solution counts as converged.

    Source: Scalable Gradient-Based Tuning of Continuous Regularization Hyperparameters (Luketina, Berglund, Greff,
    Raiko, 2016), there called T1-T2.
    """

    step_size: float = 1.0
    measure: bool = True
    tol: float = 1e-6

    def __post_init__(self) -> None:
        """Check the settings."""
        check_positive("Identity", "step_size", self.step_size)
        checked_flag("Identity", "measure", self.measure)
        check_tol("Identity", self.tol)

    def _solve(self, matvec: Matvec, b: Tensor, tol: float) -> LinearSolution:
        x = self.step_size * b
        if not self.measure:
            return LinearSolution(x, math.nan, iterations=0, converged=False, curvature=math.nan)
        product = matvec(b)
        residual = float(torch.linalg.vector_norm(self.step_size * product - b))
        residual = math.inf if math.isnan(residual) else residual
        return LinearSolution(x, residual, 1, residual <= tol, float(torch.dot(b, product)))
