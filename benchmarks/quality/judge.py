"""Which estimate tells best how the looked-ahead validation loss changes when the architecture moves.

F(a) = L_valid(w - rate grad_w L_train(w, a), a), in float64. A step of Adam moves each entry of the architecture by
about its learning rate, so that is the length of every move here: d = -lr sign(h), Adam's first step, in each rule's
own direction, and random signs times lr, which are the same for all rules. A step is made for the sake of images that
it has not seen, so it is tried on other batches, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality.point import Point

MOVES = {1e-7: 1, 3e-4: 6, 3e-3: 4, 1e-2: 6, 3e-2: 4}
"""Lengths of moves, and how many random ones of each are made, forth and back. The first meets next to no kink: there
an exact derivative must be right."""
STEPS = (3e-4, 1e-2)
"""Learning rates: the published one, and that of a search of few steps."""
TRIED = (
    *("exact", "first", "first, at w"),
    *(f"central {length:g}" for length in (1.0, 0.1, 0.03, 0.01, 3e-3, 1e-3)),
    *("mean 0.1, 0.03, 0.01", "shaken 0.1", "shaken 0.01"),
)
"""Rules whose own step is made."""


def judged(point: Point, elsewhere: Point, estimates: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return how F changes along moves of each length, and what each rule says of it.

    Args:
        point: Where, in float64.
        elsewhere: The same with other batches.
        estimates: The hypergradient by each rule, at `point`.

    Returns:
        By length, "rules": what each predicts for the random moves against (F(a + d) - F(a - d)) / 2, from which the
        even part of the change is gone; "even": the size of that part over that of the odd one; and for learning rates
        "own": F's change along each rule's own step, and "elsewhere": the same on the other batches.
    """
    start = point.looked_ahead(point.alphas)
    found: dict[str, Any] = {}
    for length, pairs in MOVES.items():
        signs = [length * _signs(point.alphas, number) for number in range(pairs)]
        both = [[point.looked_ahead(point.alphas + side * sign) - start for side in (1, -1)] for sign in signs]
        odd = torch.tensor([(up - down) / 2 for up, down in both])
        even = torch.tensor([(up + down) / 2 for up, down in both])
        told = {name: torch.tensor([float(h @ s) for s in signs]) for name, h in estimates.items()}
        rules = {name: compared(values, odd) for name, values in told.items()}
        found[f"{length:g}"] = {"even": _short(float(even.norm() / odd.norm())), "rules": rules}
    away = elsewhere.looked_ahead(point.alphas)
    for step, name in product(STEPS, TRIED):
        if name in estimates:
            there = point.alphas - step * estimates[name].sign()
            ends = {"own": point.looked_ahead(there) - start, "elsewhere": elsewhere.looked_ahead(there) - away}
            own = {where: _short(change) for where, change in ends.items()}
            found[f"{step:g}"]["own"] = found[f"{step:g}"].get("own", {}) | {name: own}
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
