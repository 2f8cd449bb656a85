"""A system with some of the identity added, for any solver."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from mlo.checks import check_not_negative
from mlo.linear.base import AbstractLinearSolver, LinearSolution, Matvec, check_solver


@dataclass(frozen=True)
class Damped(AbstractLinearSolver):
    """Solves (A + mu I) x = b in place of A x = b, by any solver.

    For an A that is singular, nearly so, or not quite positive definite. Equal to a term mu |x - x*|^2 / 2 in the loss
    that pulls towards where it stands: with A symmetric, each part of x along an eigenvector of value h is smaller
    than that of A^-1 b by the factor h / (h + mu).

    What is reported is told of the system that is solved, (A + mu I) x = b: residual and `converged` say nothing of
    A x - b. The curvature is A's own.

    Attributes:
        solver: Solves the system.
        mu: The damping, in units of A.

    Source: Meta-Learning with Implicit Gradients (Rajeswaran, Finn, Kakade, Levine, 2019), equation 6 (there of the
    loss); Deep Learning via Hessian-Free Optimization (Martens, 2010), section 4.1.

    Examples:
        >>> import mlo, torch
        >>> flat = torch.tensor([1.0, 0.0])  # a diagonal without curvature in the second direction
        >>> mlo.Damped(mlo.CG(), mu=1.0).solve(lambda v: flat * v, torch.ones(2)).value
        tensor([0.5000, 1.0000])
    """

    solver: AbstractLinearSolver
    mu: float

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ConfigError: If `solver` is no solver, or `mu` not a number >= 0.
        """
        check_solver("Damped", self.solver)
        check_not_negative("Damped", "mu", self.mu)

    def solve(self, matvec: Matvec, b: Tensor, *, start: Tensor | None = None) -> LinearSolution:
        """Solve (A + mu I) x = b."""
        found = self.solver.solve(lambda v: matvec(v) + self.mu * v, b, start=start)
        return replace(found, curvature=found.curvature - self.mu)
