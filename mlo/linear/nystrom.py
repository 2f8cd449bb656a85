"""The inverse of a low-rank approximation of A, from some of its columns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mlo.checks import check_count, check_positive, check_tol
from mlo.errors import ConfigError
from mlo.linear.base import LinearSolution, Matvec
from mlo.linear.template import AbstractUnitSolver, nothing


@dataclass(frozen=True)
class Nystrom(AbstractUnitSolver):
    """x = (A_k + damping I)^-1 b, with A_k = C W^+ C^T of rank at most k, for a symmetric A.

    C = A[:, K] are k columns of A, drawn without replacement, and W = A[K, K] where they cross. Costs k products, one
    more for the residual (that of A x = b, which a damped answer cannot bring to 0), and memory for 2 k vectors; unlike
    a series it cannot diverge. With k = n, A_k is A, and x tends to the solution as the damping tends to 0.

    The inverse is taken on the eigenvectors of A_k, C W^+ C^T = Q D Q^T, and is 1 / damping on all that is orthogonal
    to them. Where A is not positive semidefinite the damping is subtracted from the negative eigenvalues, so that none
    of them comes near 0: no part of b is multiplied by more than 1 / damping.

    Attributes:
        rank: k, at most; n if that is less.
        damping: Added to A_k, in units of A.
        seed: Of the draw, which is the same at each solve of a size; the global random state is left alone.
        tol: Relative residual up to which the solution counts as converged.

    Source: Nystrom Method for Accurate and Scalable Implicit Differentiation (Hataya, Yamada, 2023).
    """

    rank: int = 10
    damping: float = 1e-2
    seed: int = 0
    tol: float = 1e-6

    def __post_init__(self) -> None:
        """Check the settings."""
        check_count("Nystrom", "rank", self.rank)
        check_positive("Nystrom", "damping", self.damping)
        check_tol("Nystrom", self.tol)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ConfigError(f"Nystrom: seed must be a whole number, got {self.seed!r}")

    def _solve(self, matvec: Matvec, b: Tensor, tol: float) -> LinearSolution:
        chosen = self._draw(b.numel()).to(b.device)
        columns = torch.stack([matvec(unit) for unit in _units(chosen, b)], dim=1)
        if not bool(torch.isfinite(columns).all()):
            return nothing(b, len(chosen))
        core = columns[chosen]
        core = (core + core.mT) / 2
        vectors, values = _eigen(columns, core)
        x = self._inverse(vectors, values, b)
        product = matvec(x)
        residual = float(torch.linalg.vector_norm(product - b))
        if not bool(torch.isfinite(x).all()) or residual != residual:
            return nothing(b, len(chosen) + 1)
        smallest = float(torch.linalg.eigvalsh(core)[0])  # p.A p / p.p for a p made of the units drawn
        curvature = min(smallest, float(torch.dot(x, product) / torch.dot(x, x)))
        return LinearSolution(x, residual, len(chosen) + 1, residual <= tol, curvature)

    def _draw(self, n: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(n, generator=generator)[: self.rank].sort().values

    def _inverse(self, vectors: Tensor, values: Tensor, b: Tensor) -> Tensor:
        inside = vectors.mT @ b
        outside = b - vectors @ inside
        again = vectors.mT @ outside
        inside, outside = inside + again, outside - vectors @ again
        # Of a b inside the span this leaves rounding only, which must not be divided by a small damping.
        rounding = 4 * torch.finfo(b.dtype).eps * b.numel() ** 0.5
        if vectors.shape[1] == b.numel() or not float(torch.linalg.vector_norm(outside)) > rounding:
            outside = torch.zeros_like(b)
        away = torch.full_like(values, self.damping).copysign(values)
        return vectors @ (inside / (values + away)) + outside / self.damping


def _units(chosen: Tensor, b: Tensor) -> list[Tensor]:
    units = []
    for place in chosen:
        unit = torch.zeros_like(b)
        unit[place] = 1.0
        units.append(unit)
    return units


def _eigen(columns: Tensor, core: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q, shape (n, r), and the diagonal of D with C W^+ C^T = Q D Q^T; r leaves out what is 0 but for rounding.

    C = Q' R first, so that W^+ is never multiplied out with n rows; eigenvalues of W below rounding are no part of it.
    """
    rounding = torch.finfo(core.dtype).eps * len(core)
    sizes, basis = torch.linalg.eigh(core)
    kept = sizes.abs() > rounding * sizes.abs().max()
    q, r = torch.linalg.qr(columns)
    half = r @ basis[:, kept]
    values, inner = torch.linalg.eigh((half / sizes[kept]) @ half.mT)
    kept = values.abs() > rounding * values.abs().max()
    return q @ inner[:, kept], values[kept]
