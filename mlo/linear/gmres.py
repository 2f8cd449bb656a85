"""Generalized minimal residuals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mlo.checks import check_count, check_tol
from mlo.linear.base import LinearSolution, Matvec
from mlo.linear.krylov import Krylov
from mlo.linear.template import AbstractUnitSolver, known_residual

STAGNATION = 1e-3
"""A cycle that takes less than this share off the residual: the next would start from nearly the same place, and at
this rate a residual is halved in some 700 cycles."""


@dataclass(frozen=True)
class GMRES(AbstractUnitSolver):
    """Generalized minimal residuals, for an A that need not be symmetric.

    x_k = argmin |A x - b| over x in span{b, A b, ..., A^{k-1} b}, so the residual never grows. With V and H as in
    Arnoldi's relation A V_k = V_{k+1} H_k, that is x_k = V_k y with y = argmin |H_k y - e_1|, by least squares of
    smallest norm. Rotations tell the residual along the way. After `restart` products it starts over on what is left
    of b; it gives up when such a cycle gains nothing, which can happen to a restarted solve of any A that is not
    definite.

    For the adjoint equation of a fixed point of an update, or of a game, whose Jacobian is not symmetric. Costs memory
    for `restart` + 1 vectors, and one synchronization with the device for each product.

    Attributes:
        max_steps: Largest number of products with A.
        restart: Products in a cycle, or None for all in one.
        tol: Relative residual at which to stop; raised to what the dtype can resolve.

    Source: GMRES: A Generalized Minimal Residual Algorithm for Solving Nonsymmetric Linear Systems (Saad, Schultz,
    1986), algorithm 4.
    """

    max_steps: int = 100
    restart: int | None = 30
    tol: float = 1e-10

    uses_start: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the settings."""
        check_count("GMRES", "max_steps", self.max_steps)
        if self.restart is not None:
            check_count("GMRES", "restart", self.restart)
        check_tol("GMRES", self.tol)

    def _solve(self, matvec: Matvec, b: Tensor, tol: float) -> LinearSolution:
        x, rest, residual = torch.zeros_like(b), b, 1.0
        steps, curvature, steepest = 0, math.inf, 0.0
        eps = torch.finfo(b.dtype).eps
        while steps < self.max_steps and residual > tol:
            size = min(self.restart or self.max_steps, self.max_steps - steps, b.numel())
            space, taken = _explore(matvec, rest / residual, size, tol / residual)
            steps += taken
            if len(space) == 0:
                break
            h = space.matrix()
            y, left = _least_squares(h, eps)
            curvature = min(curvature, float(space.ritz_values()[0]))
            steepest = max(steepest, float(torch.linalg.vector_norm(h, dim=0).max()))
            before, shrunk = residual, float(torch.linalg.vector_norm(left))
            if not shrunk < 1:
                break
            x = x + residual * space.combine(torch.cat([y, y.new_zeros(1)]))
            rest, residual = residual * space.combine(left), residual * shrunk
            if space.broken or residual > (1 - STAGNATION) * before:
                break
        residual = known_residual(residual, float(torch.linalg.vector_norm(x)), steepest, torch.finfo(b.dtype).eps)
        return LinearSolution(x, residual, steps, residual <= tol, math.nan if curvature == math.inf else curvature)


def _explore(matvec: Matvec, b: Tensor, size: int, tol: float) -> tuple[Krylov, int]:
    """Grow the space until the least |A x - b| in it is within `tol`, or it cannot grow; return it and the products."""
    space, rotations, last, taken = Krylov(b, size), _Rotations(), 1.0, 0
    while taken < size and last > tol and not space.ended:
        column = space.extend(matvec)
        taken += 1
        if space.broken:
            break
        last = rotations.apply(column)
    return space, taken


class _Rotations:
    """Givens rotations that make H triangular, column by column; their sines give the least residual so far."""

    def __init__(self) -> None:
        self._pairs: list[tuple[float, float]] = []
        self._residual = 1.0

    def apply(self, column: list[float]) -> float:
        """Rotate the next column; return the least |H y - e_1|."""
        top = column[0]
        for (c, s), below in zip(self._pairs, column[1:-1], strict=True):
            top = c * below - s * top
        length = math.hypot(top, column[-1])
        # A column that is 0 adds nothing: the residual stays.
        c, s = (top / length, column[-1] / length) if length > 0 else (0.0, 1.0)
        self._pairs.append((c, s))
        self._residual *= abs(s)
        return self._residual


def _least_squares(h: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the y of least norm among those with the least |H y - e_1|, and e_1 - H y."""
    target = torch.zeros(h.shape[0], dtype=h.dtype)
    target[0] = 1.0
    u, sizes, vt = torch.linalg.svd(h, full_matrices=False)
    kept = sizes > eps * h.shape[0] * sizes[0]
    inverse = torch.where(kept, 1 / sizes, torch.zeros_like(sizes))
    y = vt.mT @ (inverse * (u.mT @ target))
    return y, target - h @ y
