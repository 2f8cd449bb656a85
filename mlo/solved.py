"""What a total gradient is handed on as."""

from __future__ import annotations

from dataclasses import dataclass

from mlo.hypergradient.base import Evaluation, Trace
from mlo.linear.base import LinearSolution
from mlo.rng import RandomState
from mlo.vector import Params


@dataclass(frozen=True)
class Solved:
    """A total gradient, with the solves that it took: traces in solving order, and linear solves by problem.

    Where derivatives are partial, `random` is what the problem's own loss drew from. `direct` and `response` are the
    parts of the derivative with respect to the problem itself: of its own loss, and through all answers.
    """

    seen: Evaluation
    traces: dict[str, Trace]
    solutions: dict[str, LinearSolution]
    random: RandomState | None
    direct: Params | None
    response: Params | None
