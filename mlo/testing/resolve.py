"""The truth that a hypergradient is checked against: differences of the objective, with every answer solved anew."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlo.context import Context
from mlo.gradient import checked_gradient
from mlo.graph import ProblemGraph
from mlo.hypergradient import FirstOrder, Implicit
from mlo.hypergradient.run import run
from mlo.rng import RandomState, replayed
from mlo.solve import ProblemNode, total_gradient
from mlo.vector import Params, axpy, dot, norm

_SETTLED = 1e-11
_MOST_ROUNDS = 2000


@dataclass(frozen=True)
class Reference:
    """One direction: our derivative along it, and that of the re-solved objective."""

    ours: float
    truth: float
    slack: float

    @property
    def agrees(self) -> bool:
        """Whether they differ by no more than the slack."""
        return abs(self.ours - self.truth) <= self.slack


def ours(context: Context, of: str) -> Params:
    """Return the hypergradient as the library finds it."""
    with replayed(RandomState.capture()):
        return checked_gradient(context, of, total_gradient(context, of, (of,)))


def along(context: Context, of: str, gradient: Params, direction: Params, rtol: float) -> Reference:
    """Compare `gradient` with central differences along one direction."""
    at = context.values[of]
    moved = [at, *(context.values[name] for name in context.graph.responders(of))]
    eps = max(torch.finfo(value.dtype).eps for params in moved for value in params.values())
    # Central differences: truncation grows as h^2, rounding as eps / h; their sum is least near eps^(1/3).
    h = eps ** (1 / 3) * max(1.0, float(norm(at)))
    up, down = (float(resolved(context, of, axpy(sign * h, direction, at))) for sign in (1.0, -1.0))
    rounding = 8 * eps * max(abs(up), abs(down)) / h
    slack = rtol * float(norm(gradient)) + rounding
    return Reference(float(dot(gradient, direction)), (up - down) / (2 * h), slack)


def resolved(context: Context, of: str, at: Params) -> Tensor:
    """Return the objective at `at` with every answer found anew, implicit ones to stationarity."""
    random = RandomState.capture()
    with replayed(random):
        context = context.with_values({of: at})
        for name in context.graph.responders(of):
            context = context.with_values({name: answer(context, name)})
        return total_gradient(frozen(context, of), of, (of,)).seen.loss


def answer(context: Context, name: str) -> Params:
    """Solve one problem anew, on until its gradient vanishes if its rule is implicit."""
    trace = run(ProblemNode(context, name))
    settled = max(_SETTLED, *(4 * torch.finfo(value.dtype).eps for value in trace.answer.values()))
    if isinstance(context.graph[name].response, Implicit) and trace.gradient_norm is not None:
        for _ in range(_MOST_ROUNDS):
            before = trace.answer
            start = replace(
                context,
                stored={**context.stored, name: trace.answer},
                states={**context.states, name: trace.end.state},
            )
            trace = run(ProblemNode(start, name))
            if float(norm(axpy(-1.0, before, trace.answer))) <= settled * max(1.0, float(norm(before))):
                break
    return trace.answer


def frozen(context: Context, of: str, *, but: Collection[str] = ()) -> Context:
    """Return the context in which all responders of `of`, but for some, stay at their present values."""
    names = set(context.graph.responders(of)).difference(but)
    problems = [replace(p, response=FirstOrder(), steps=0) if p.name in names else p for p in context.graph.problems]
    stored = {**context.stored, **{name: context.values[name] for name in names}}
    return replace(context, graph=ProblemGraph(problems), stored=stored)
