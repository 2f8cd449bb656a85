"""The truth that a hypergradient is checked against: differences of the objective, with every answer solved anew."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlo.context import Context
from mlo.errors import ConfigError, HypergradientMismatch
from mlo.graph import ProblemGraph
from mlo.hypergradient import FirstOrder
from mlo.hypergradient.base import Trace
from mlo.hypergradient.run import run
from mlo.rng import RandomState, replayed
from mlo.solve import ProblemNode, total_gradient
from mlo.vector import Params, axpy, norm, precision, unit

_SETTLED = 1e-11
_MOST_ROUNDS = 2000
_PATIENCE, _PATIENT_STEPS = 20, 2000  # rounds, and updates, in which a solve that settles has moved less than ever


@dataclass(frozen=True)
class Reference:
    """One direction: our derivative along it, and that of what was solved anew."""

    ours: float
    truth: float
    slack: float

    @property
    def agrees(self) -> bool:
        """Whether they differ by no more than the slack."""
        return abs(self.ours - self.truth) <= self.slack


def resolved(context: Context, of: str, at: Params) -> Tensor:
    """Return the objective at `at` with every answer found anew: to rest, where its rule takes it to be at rest."""
    random = RandomState.capture()
    with replayed(random):
        context = context.with_values({of: at})
        for name in context.graph.responders(of):
            context = context.with_values({name: answer(context, name)})
        return total_gradient(frozen(context, of), of, (of,)).seen.loss


def answer(context: Context, name: str) -> Params:
    """Solve one problem anew, and on until its steps stand still if its rule takes the answer to be at rest."""
    context = _without_early_stopping(context)
    trace = run(ProblemNode(context, name))
    if not context.graph[name].response.assumes_rest:
        return trace.answer
    context = _without_start(context, name)
    eps = precision([trace.answer])
    least, idle = math.inf, 0
    for _ in range(_MOST_ROUNDS if trace.losses else 0):
        before = trace.answer
        start = replace(
            context,
            stored={**context.stored, name: trace.answer},
            states={**context.states, name: trace.end.state},
        )
        trace = _onward(start, name)
        moved = float(norm(axpy(-1.0, before, trace.answer))) / max(1.0, float(norm(before)))
        if moved <= max(_SETTLED, 4 * eps):
            break
        least, idle = (moved, 0) if moved < 0.99 * least else (least, idle + 1)
        if idle >= max(_PATIENCE, _PATIENT_STEPS // trace.steps):
            _check_settled(context, name, moved, eps)
            break
    return trace.answer


def _onward(context: Context, name: str) -> Trace:
    """Solve on; a schedule that ends on the way is the check's doing, so the error says so."""
    try:
        return run(ProblemNode(context, name))
    except ConfigError as error:
        error.add_note("raised where the check goes on with the solve until it rests: check with a schedule that lasts")
        raise


def _check_settled(context: Context, name: str, moved: float, eps: float) -> None:
    """Raise if a solve that has long gone on without coming nearer to rest moves by more than rounding does."""
    if moved > math.sqrt(eps):
        rule = type(context.graph[name].response).__name__
        raise HypergradientMismatch(
            f"problem {name!r}: {rule} takes its answer to be at rest, but its steps do not come to rest: a solve that "
            f"goes on from there moves it by {moved:.1e} (relative) again and again: give it an update that settles (a "
            "smaller step size; for Adam and its kin a larger eps), or use mlo.Unroll()"
        )


def _without_start(context: Context, name: str) -> Context:
    """Return the context in which a solve of problem `name` begins at its stored value."""
    if context.graph[name].start is None:
        return context
    problems = [replace(p, start=None) if p.name == name else p for p in context.graph.problems]
    return replace(context, graph=ProblemGraph(problems))


def _without_early_stopping(context: Context) -> Context:
    """Return the context in which every solve makes all its steps: what a tolerance leaves is no rounding."""
    if not any(problem.tolerance for problem in context.graph.problems):
        return context
    return replace(context, graph=ProblemGraph([replace(p, tolerance=0.0) for p in context.graph.problems]))


def frozen(context: Context, of: str, *, but: Collection[str] = ()) -> Context:
    """Return the context in which all responders of `of`, but for some, stay at their present values."""
    names = set(context.graph.responders(of)).difference(but)
    whole = context.graph.problems
    problems = [replace(p, response=FirstOrder(), steps=0, start=None) if p.name in names else p for p in whole]
    stored = {**context.stored, **{name: context.values[name] for name in names}}
    return replace(context, graph=ProblemGraph(problems), stored=stored)


def step(at: Params, eps: float) -> float:
    """Return the length of a central difference: truncation grows as h^2, rounding as eps / h, least at eps^(1/3)."""
    return float(eps ** (1 / 3)) * max(1.0, float(norm(at)))


def difference(up: float, center: float, down: float, h: float, eps: float, size: float) -> tuple[float, float]:
    """Return a central difference, and how much of it may be rounding.

    A function is known to eps times its value, and to eps times its slope for every unit of its arguments' size. Where
    it is flat, the slope is that at the ends of the difference.
    """
    slope = (abs(up - center) + abs(down - center)) / h
    return (up - down) / (2 * h), 8 * eps * (max(abs(up), abs(down)) + slope * size) / h


def noise(context: Context, name: str) -> float:
    """Return how well, relative to its size, an answer is known once it was solved anew."""
    eps = precision([context.values[name]])
    return 8 * eps + (2 * max(_SETTLED, eps) if context.graph[name].response.assumes_rest else 0.0)


def random_directions(at: Params, count: int, seed: int) -> list[Params]:
    """Draw random unit directions."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        drawn = {k: torch.randn(v.shape, generator=generator, dtype=torch.float64).to(v) for k, v in at.items()}
        found.append(unit(drawn)[0])
    return found
