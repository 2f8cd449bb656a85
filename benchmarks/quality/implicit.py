"""The one-step hypergradient and its implicit counterpart.

An explicit step goes to w - rate g(w); the implicit one to the minimum of L_train(u) + |u - w|^2 / (2 rate), whose
derivative in the architecture is -(H + I / rate)^-1 applied to the mixed derivative. At w itself this gives

    h = grad_a L_valid - P x,    (H + mu I) x = v,    mu = 1 / rate,

with all derivatives at w but v and the direct part, which are those of the one-step hypergradient. One term of the open
series x = rate sum (I - rate H)^k v is the one-step hypergradient itself; k terms are k steps along the quadratic. It
sums towards H^-1 v, which means something only where H is positive definite.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import mlo
from benchmarks.quality.rules import Ahead, curvature

TERMS = (1, 2, 3, 5, 10)
PRODUCTS = (1, 3, 10)
MOST = 60
DAMPINGS = (1.0, 0.1)
"""mu, times 1 / rate."""
OPEN = "open series against one step"
"""Under this name is what has no damping."""


def against_implicit(ahead: Ahead, far: Callable[[Tensor, Tensor], Any]) -> dict[str, Any]:
    """Return how far Neumann sums and CG iterates are from the implicit hypergradients and from the one-step one.

    Args:
        ahead: The point, in float64.
        far: Compares an estimate with what is right.
    """
    both = curvature(ahead.point)
    rate, v = ahead.point.rate, ahead.v
    step = ahead.hypergradient(both(v)[1])

    def hypergradient(x: Tensor) -> Tensor:
        return ahead.direct - both(x)[1]

    found: dict[str, Any] = {OPEN: {}}
    x, term = torch.zeros_like(v), rate * v
    for count in range(1, max(TERMS) + 1):
        x = x + term
        if count in TERMS:
            found[OPEN][str(count)] = far(hypergradient(x), step)
        term = term - rate * both(term)[0]
    for damping in DAMPINGS:
        found[f"damping {damping:g}"] = _damped(ahead, damping / rate, hypergradient, step, both, far)
    return found


def _damped(
    ahead: Ahead,
    mu: float,
    hypergradient: Callable[[Tensor], Tensor],
    step: Tensor,
    both: Callable[[Tensor], list[Tensor]],
    far: Callable[[Tensor, Tensor], Any],
) -> dict[str, Any]:
    def solved(solver: mlo.AbstractLinearSolver) -> mlo.LinearSolution:
        return mlo.Damped(solver, mu).solve(lambda x: both(x)[0], ahead.v)

    tight = solved(mlo.CG(max_steps=MOST, tol=1e-8))
    right = hypergradient(tight.value)
    found: dict[str, Any] = {
        "residual": tight.residual,
        "products": tight.iterations,
        "smallest curvature met": tight.curvature,
        "one step": far(step, right),
        "implicit against one step": far(right, step),
        "first": far(ahead.direct, right),
    }
    for count in PRODUCTS:
        solvers = {"CG": mlo.CG(max_steps=count, tol=1e-8), "Neumann": mlo.Neumann(max_steps=count, tol=1e-8)}
        for name, solver in solvers.items():
            found[f"{name} {count}"] = far(hypergradient(solved(solver).value), right)
    return found
