"""What an outer step tells of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from mlo.context import Tally
from mlo.hypergradient.base import Trace
from mlo.linear.base import LinearSolution
from mlo.look import Look


@dataclass(frozen=True)
class Report:
    """What one outer step did.

    Attributes:
        step: Number of the step, from 1.
        losses: The loss of each problem: for a solved one before its last update, for the outermost before its update.
        norms: The norm of the gradient of each problem; for the outermost, of its hypergradient.
        solves: The linear solve of each problem with an implicit response, in this step.
        steps: How many updates the solve of each problem made; fewer than declared if its tolerance stopped it.
        gradients: Gradients of one problem's loss that the step took; a finite difference takes two.
        products: Second-order products that it took by double backward.
        parts: With `clip`, the norms of the direct and of the response part of the hypergradient, before they are
            clipped; None without, and in a frozen step. `norms` has that of what is left.
        skipped: What attempts at this step said that were given up before it, by `mlo.Skip`.
    """

    step: int
    losses: dict[str, float]
    norms: dict[str, float]
    solves: dict[str, LinearSolution]
    steps: dict[str, int]
    gradients: int
    products: int
    parts: tuple[float, float] | None = None
    skipped: tuple[str, ...] = ()


def last_seen(traces: Mapping[str, Trace]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the last loss and gradient norm of each solve that made a step."""
    return {n: (t.losses[-1], t.gradient_norm) for n, t in traces.items() if t.losses and t.gradient_norm is not None}


def fetched(
    seen: Mapping[str, tuple[Tensor, Tensor]], tally: Tally, look: Look, more: Sequence[Tensor] = ()
) -> tuple[dict[str, float], dict[str, float], list[float]]:
    """Return losses and norms by problem, and more; the only place where a step without solvers waits for the device.

    Raises:
        DivergenceError: If a loss, an answer or the hypergradient is not finite.
    """
    tally.confide(look)
    for value in (*(value for pair in seen.values() for value in pair), *more):
        look.number(value)
    numbers = look.take()
    pairs = numbers[: 2 * len(seen)]
    losses, norms = (dict(zip(seen, pairs[place::2], strict=True)) for place in (0, 1))
    return losses, norms, numbers[len(pairs) :]
