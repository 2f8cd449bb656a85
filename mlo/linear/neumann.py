"""The truncated Neumann series."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from mlo.checks import check_count, check_positive, check_tol
from mlo.linear.base import DIVERGED, LinearSolution, Matvec
from mlo.linear.krylov import Krylov
from mlo.linear.scaling import safe_norm
from mlo.linear.template import AbstractUnitSolver, known_residual

ESTIMATE_STEPS = 5
"""Products from which the step size is found; they cost memory for six vectors.

On spectra from flat to spread over six decades, with random b, `high` then is 1.00 to 1.27 times the largest
eigenvalue; with three products it can be 0.75 times.
"""


@dataclass(frozen=True)
class Neumann(AbstractUnitSolver):
    """x = s * sum_{k=0}^{K} (I - s A)^k b, which tends to the solution when |I - s A| < 1.

    Its K + 1 terms (the last one costs no product) equal K + 1 steps of gradient descent on the quadratic, from 0, and
    backpropagation through the last K + 1 steps of plain gradient descent with step size s at rest.

    Without a step size, s = 2 / (low + high): the step that shrinks both ends of [low, high] alike. The two ends come
    from the first products of the series themselves, which therefore cost nothing extra: Arnoldi's relation
    A V_k = V_{k+1} H_k on b gives low = the smallest eigenvalue of H_k's symmetric part, and high = |H_k| + the length
    of what does not fit into V_k, which bounds the largest eigenvalue in all but contrived cases. Those show: as long
    as all eigenvalues are positive and below 2 / s no residual grows, so one that does asks for a smaller step. Such a
    step is taken back (the same product serves again) with s = r.A r / |A r|^2, for which |r - s A r| is least; this
    is below half of the s that failed, yet never below 1 / (largest eigenvalue), so few such corrections are needed.
    Where r.A r <= 0 no step helps: A is not positive definite, the curvature says so, and the sum ends unconverged.

    Attributes:
        max_steps: K, the largest number of products with A.
        step_size: s; must be below 2 over the largest eigenvalue of A, or None to find it for each system.
        tol: Relative residual at which to stop early; raised to what the dtype can resolve. With a step size given,
            the residual that is reported is that of the sum without its last term: an upper bound when the series
            converges. Without one the last term is left out, and the residual is that of the sum.

    Source: Optimizing Millions of Hyperparameters by Implicit Differentiation (Lorraine, Vicol, Duvenaud, 2020),
    equation 4; Bounding the Spectrum of Large Hermitian Matrices (Zhou, Li, 2011), section 2, for |H_k| + |f_k|.

    Examples:
        >>> import mlo, torch
        >>> A, b = torch.tensor([[2.0, 1.0], [1.0, 3.0]]), torch.tensor([3.0, 4.0])
        >>> found = mlo.Neumann(max_steps=100, tol=1e-3).solve(lambda v: A @ v, b)
        >>> found.converged
        True
        >>> torch.allclose(found.value, torch.ones(2), atol=0.01)
        True
    """

    max_steps: int = 20
    step_size: float | None = None
    tol: float = 1e-10

    uses_start: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the settings."""
        check_count("Neumann", "max_steps", self.max_steps)
        check_tol("Neumann", self.tol)
        if self.step_size is not None:
            check_positive("Neumann", "step_size", self.step_size)

    def _solve(self, matvec: Matvec, b: Tensor, tol: float) -> LinearSolution:
        if self.step_size is None:
            state = self._estimated(matvec, b, tol)
        else:
            state = _Sum(torch.zeros_like(b), b, self.step_size)
        state = _continued(state, matvec, self.max_steps, tol, adapts=self.step_size is None)
        residual = known_residual(state.residual, state.size, state.steepest, torch.finfo(b.dtype).eps)
        # What is left is the next term but for s, so one more term is free. It makes things better where the series
        # converges: an own step size is trusted in this unless the curvature denies it, an estimate is not.
        trusted = self.step_size is not None and state.curvature > 0
        extend = trusted and residual > tol and not state.stopped
        x = state.x + state.step * state.rest if extend else state.x
        curvature = math.nan if state.curvature == math.inf else state.curvature
        return LinearSolution(x, residual, state.products, residual <= tol, curvature)

    def _estimated(self, matvec: Matvec, b: Tensor, tol: float) -> _Sum:
        """Find s from a few products, and sum the terms that these products already give."""
        zero = torch.zeros_like(b)
        size, taken = min(ESTIMATE_STEPS, self.max_steps, b.numel()), 0
        space = Krylov(b, size)
        while taken < size and not (space.ended or space.broken):
            space.extend(matvec)
            taken += 1
        if len(space) == 0:
            return _Sum(zero, b, 0.0, products=taken, stopped=True)
        h, ritz = space.matrix(), space.ritz_values()
        low, high = float(ritz[0]), float(torch.linalg.matrix_norm(h, 2) + h[-1, -1])
        if not (ritz[-1] > 0 and 0 < high < math.inf):
            return _Sum(zero, b, 0.0, products=taken, curvature=low, stopped=True)
        # In coordinates A is H, with a column of zeros for the vector whose product is not known.
        square = torch.cat([h, h.new_zeros(h.shape[0], 1)], dim=1)
        unit = torch.eye(h.shape[0], dtype=h.dtype)[0]
        begun = _Sum(torch.zeros_like(unit), unit, 2.0 / (max(low, 0.0) + high))
        summed = _continued(begun, lambda c: square @ c, len(space), tol, adapts=True)
        x, rest = space.combine(summed.x), space.combine(summed.rest)
        curvature = min(low, summed.curvature)
        stopped = summed.stopped or space.broken
        return replace(summed, x=x, rest=rest, products=taken, curvature=curvature, stopped=stopped)


@dataclass(frozen=True)
class _Sum:
    """A sum x of terms and its norm, rest = b - A x (the next term, but for the step size), and what was met."""

    x: Tensor
    rest: Tensor
    step: float
    size: float = 0.0
    residual: float = 1.0
    curvature: float = math.inf
    steepest: float = 0.0
    products: int = 0
    stopped: bool = False


def _continued(state: _Sum, matvec: Matvec, max_steps: int, tol: float, *, adapts: bool) -> _Sum:
    """Add terms until the residual is within `tol`, the steps are used up, or the series has no way on."""
    while state.products < max_steps and state.residual > tol and not state.stopped:
        state = _next(state, matvec(state.rest), adapts=adapts)
    return state


def _next(state: _Sum, product: Tensor, *, adapts: bool) -> _Sum:
    """Return the sum with one more term, given the product of A with what is left."""
    size = safe_norm(product)
    step, rest = state.step, state.rest - state.step * product
    x = state.x + step * state.rest
    along = torch.dot(state.rest / state.residual, product / size)
    seen = [along, size, torch.linalg.vector_norm(rest), torch.linalg.vector_norm(x)]
    cosine, length, residual, reach = torch.stack(seen).tolist()  # one look at the device
    slope = length / state.residual
    if adapts and not residual <= state.residual:
        step = cosine / slope  # r.A r / |A r|^2
        rest, x = state.rest - step * product, state.x + step * state.rest
        residual, reach = torch.stack([torch.linalg.vector_norm(rest), torch.linalg.vector_norm(x)]).tolist()
    curvature = 0.0 if slope == 0 else cosine * slope
    met = replace(
        state,
        products=state.products + 1,
        curvature=min(state.curvature, curvature),  # what is not finite was not met
        steepest=max(state.steepest, slope),
    )
    if adapts and not (step > 0 and residual < state.residual):
        return replace(met, stopped=True)
    if not residual < DIVERGED:
        return replace(met, residual=math.inf, stopped=True)
    return replace(met, x=x, size=reach, rest=rest, step=step, residual=residual)
