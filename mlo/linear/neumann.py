"""The truncated Neumann series."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlo.errors import ConfigError
from mlo.linear.base import (
    DIVERGED,
    AbstractLinearSolver,
    LinearSolution,
    Matvec,
    attainable,
    check_settings,
    solved_for_unit,
)


@dataclass(frozen=True)
class Neumann(AbstractLinearSolver):
    """x = s * sum_{k=0}^{K} (I - s A)^k b, which tends to the solution when |I - s A| < 1.

    Equal to K further steps of gradient descent on the quadratic, and to backpropagation through K converged steps of
    plain gradient descent with step size s.

    Attributes:
        max_steps: K, the largest number of products with A.
        step_size: s; must be below 2 over the largest eigenvalue of A.
        tol: Relative residual at which to stop early; raised to what the dtype can resolve.

    Source: Optimizing Millions of Hyperparameters by Implicit Differentiation (Lorraine, Vicol, Duvenaud, 2020),
    equation 4.
    """

    max_steps: int = 20
    step_size: float = 0.1
    tol: float = 1e-10

    def __post_init__(self) -> None:
        """Check the settings."""
        check_settings("Neumann", self.max_steps, self.tol)
        if not 0 < self.step_size < float("inf"):
            raise ConfigError(f"Neumann: step_size must be positive and finite, got {self.step_size}")

    def solve(self, matvec: Matvec, b: Tensor) -> LinearSolution:
        """Solve A x = b.

        With x_k the sum up to its k-th term, b - A x_k = (I - s A)^{k+1} b, the next term but for s. So the residual
        that is reported is that of the sum without its last term: an upper bound when the series converges.
        """
        return solved_for_unit(b, lambda unit: self._solve(matvec, unit))

    def _solve(self, matvec: Matvec, b: Tensor) -> LinearSolution:
        tol = attainable(self.tol, b)
        term, total = b, self.step_size * b
        residual, curvature, steps = float("inf"), float("inf"), 0
        while steps < self.max_steps and residual > tol:
            product = matvec(term)
            steps += 1
            curvature = min(curvature, float(torch.dot(term, product) / torch.dot(term, term)))
            term = term - self.step_size * product
            residual = float(torch.linalg.vector_norm(term))
            if not residual < DIVERGED:
                residual = float("inf")
                break
            total = total + self.step_size * term
        return LinearSolution(total, residual, steps, residual <= tol, curvature)
