"""Which estimate tells best how the looked-ahead validation loss changes when the architecture moves.

F(a) = L_valid(w - rate grad_w L_train(w, a), a), in float64. A step of Adam moves each entry of the architecture by
about its learning rate, so that is the length of every move here: d = -lr sign(h), Adam's first step, in each rule's
own direction, and random signs times lr, which are the same for all rules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality.point import Point

STEPS = (3e-4, 1e-2)
"""Learning rates: the published one, and that of a search of few steps."""
TINY = 1e-7
"""A step that meets next to no kink: what an exact derivative must predict."""
PAIRS = 6
UNTRIED = {f"{side} {length:g}" for side in ("central", "one-sided") for length in (1e-5, 1e-6)}
UNTRIED |= {f"one-sided {length:g}" for length in (1.0, 0.3, 0.03, 1e-3, 1e-4)}
"""Rules whose own step is not tried, to save time; what they predict is."""


def judged(point: Point, estimates: Mapping[str, Tensor], pairs: int = PAIRS) -> dict[str, Any]:
    """Return, by learning rate, how F changes and what each rule says of it.

    Args:
        point: Where, in float64.
        estimates: The hypergradient by each rule.
        pairs: How many random moves, each made forth and back.

    Returns:
        "own": F's change along each rule's own step. "error", "slope", "correlation": of what each rule predicts for
        the random moves, against (F(a + d) - F(a - d)) / 2, from which the even part of the change is gone. "even": the
        size of that part over that of the odd one.
    """
    start = point.looked_ahead(point.alphas)
    found: dict[str, Any] = {}
    for step in (TINY, *STEPS):
        signs = [_signs(point.alphas, number) for number in range(pairs)]
        both = [[point.looked_ahead(point.alphas + side * step * sign) - start for side in (1, -1)] for sign in signs]
        odd = torch.tensor([(up - down) / 2 for up, down in both])
        even = torch.tensor([(up + down) / 2 for up, down in both])
        told = {name: torch.tensor([step * float(h @ s) for s in signs]) for name, h in estimates.items()}
        here: dict[str, Any] = {"even": _short(float(even.norm() / odd.norm()))}
        here["rules"] = {name: compared(values, odd) for name, values in told.items()}
        if step != TINY:
            for name, h in estimates.items():
                if name in UNTRIED:
                    continue
                moved = point.looked_ahead(point.alphas - step * h.sign()) - start
                here["rules"][name] |= {"own": _short(moved), "own predicted": _short(-step * float(h.abs().sum()))}
        found[f"{step:g}"] = here
    return found


def compared(told: Tensor, actual: Tensor) -> dict[str, float]:
    """Return how predictions fit: |told - actual| / |actual|, the slope of actual on told, and their cosine."""
    along = float(told @ actual)
    return {
        "error": _short(float((told - actual).norm() / actual.norm())),
        "slope": _short(along / float(told @ told)),
        "correlation": _short(along / float(told.norm() * actual.norm())),
    }


def _signs(like: Tensor, number: int) -> Tensor:
    drawn = torch.randint(0, 2, like.shape, generator=torch.Generator().manual_seed(1000 + number))
    return (2 * drawn - 1).to(like)


def _short(value: float) -> float:
    """Return a number to four figures; None would hide that one is not finite."""
    return float(f"{value:.4g}") if math.isfinite(value) else value
