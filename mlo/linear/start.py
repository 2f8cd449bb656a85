"""A guess at the solution, as far as it helps."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlo.linear.base import LinearSolution, Matvec
from mlo.linear.scaling import safe_norm, safe_unit

log = logging.getLogger("mlo")


@dataclass(frozen=True)
class Start:
    """Where a solve of A x = b, |b| = 1, begins.

    Attributes:
        value: s x0, shape (n,).
        rest: b - s A x0, shape (n,).
        size: |b - s A x0|, at most 1.
        products: Products with A that this took: 0 or 1.
        curvature: x0.A x0 / x0.x0, or NaN.
    """

    value: Tensor
    rest: Tensor
    size: float
    products: int
    curvature: float

    @classmethod
    def take(cls, matvec: Matvec, b: Tensor, start: Tensor | None) -> Start:
        """Scale a start by s = b.A x0 / |A x0|^2, the least-squares factor, or begin at 0."""
        if start is None:
            return _at_zero(b, 0)
        reason = _misfit(b, start)
        unit = None if reason else safe_unit(start.detach())
        if unit is None:
            if reason:
                log.info("a start of a linear solve was passed over: %s", reason)
            return _at_zero(b, 0)
        product = matvec(unit)
        image = safe_unit(product)
        if image is None:  # s would be 0 / 0
            return _at_zero(b, 1)
        along = torch.dot(b, image)
        value = unit * (along / safe_norm(product))
        rest = b - along * image
        found = torch.stack([torch.linalg.vector_norm(rest), value.abs().max(), torch.dot(unit, product)])
        size, peak, curvature = found.tolist()  # one look at the device
        if not math.isfinite(size + peak):
            return _at_zero(b, 1)
        # A x0 is known to rounding only, so no start is better than that.
        size = max(size, torch.finfo(b.dtype).eps)
        return cls(value, rest, size, 1, curvature)

    def plus(self, found: LinearSolution) -> LinearSolution:
        """Add the solution of A d = rest / size."""
        return replace(
            found,
            value=self.value + self.size * found.value,
            residual=self.size * found.residual,
            iterations=self.products + found.iterations,
            curvature=_least(self.curvature, found.curvature),
        )


def _at_zero(b: Tensor, products: int) -> Start:
    return Start(torch.zeros_like(b), b, 1.0, products, math.nan)


def _misfit(b: Tensor, start: Tensor) -> str | None:
    for what in ("shape", "dtype", "device"):
        given, needed = getattr(start, what), getattr(b, what)
        if given != needed:
            return f"its {what} is {given}, that of the right-hand side {needed}"
    return None


def _least(a: float, b: float) -> float:
    if math.isnan(a):
        return b
    return a if math.isnan(b) else min(a, b)
