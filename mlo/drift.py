"""Divergence of an interleaving, told while its numbers are still far from overflow.

Let stage W be held near A by the proximal step, with a quadratic loss of curvature H >= 0 around w*, and let s plain
gradient steps be made from W to W'. Then d = W - A follows d' = M^s d + (I - M^s) d*, where

    M = (1 - c) I - eta H  (explicit),    M = (I - eta H) / (1 + c)  (implicit),    |d*| <= |A - w*|.

The chain is stable if no eigenvalue of the symmetric M exceeds 1 in size. So a step of a stable one has

    |d'| <= |d| + 2 |A - w*|,

and one that goes further shows an unstable M, whatever came before: nothing has to be remembered. In an unstable one
|d| grows by a constant factor, until the step does go further. Where w* lies is not known; that it lies within `FAR` of
the origin is assumed, a multiple of the size that the weights had when they were declared. Where c > 2, M has such an
eigenvalue whatever H, and the distance alone tells.

Where the last stage holds the first one ("cyclic"), the circle may be unstable though no stage is: A grows along with
d. There a distance that is `CIRCLE` times as large again has to do.

With momentum, and with losses that are not quadratic, it is a rule of thumb: weights a million times their size at the
start, that one step drives away by more than twice as much again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mlo.context import Context
from mlo.errors import DivergenceError
from mlo.hypergradient.base import Trace
from mlo.look import Look
from mlo.proximal_update import ProximalUpdate
from mlo.vector import Params, Values, detach, norm

FAR = 1e6
"""A size of weights that is out of the question, relative to that at the start, or to 1 for each entry if larger.

A regression whose targets are prices begins near 0 and makes a step to 1e5: at 1e3 that was taken for divergence.
"""
CIRCLE = 1e3
"""A distance in a circle that is out of the question, relative to that size."""


def watch_drift(context: Context, traces: Mapping[str, Trace], look: Look) -> None:
    """Let `look` raise `DivergenceError` if a stage of an interleaving runs away from the one that it is held near.

    On the device that is the norm of each stage; the rest is computed where that norm is large.
    """
    for name, trace in traces.items():
        rule = context.graph[name].rule
        if isinstance(rule, ProximalUpdate):
            values = {other: found.answer for other, found in traces.items()}
            stage = _Stage(context, name, rule, trace.end.params, values)
            look.judge(norm(detach(trace.end.params)), partial(_judge, stage))


@dataclass(frozen=True, eq=False)
class _Stage:
    """A stage, and how far a step has taken it.

    Attributes:
        context: What the step began with.
        name: The problem.
        rule: Its update.
        end: Where it went.
        answers: What became of the others in the step.
    """

    context: Context
    name: str
    rule: ProximalUpdate
    end: Params
    answers: Values

    def anchor(self) -> Params:
        """Return A."""
        known = self.context.values if self.rule.stored else {**self.context.values, **self.answers}
        return known[self.rule.anchor]

    def start(self) -> Params:
        """Return where the step began."""
        stored, start = self.context.stored, self.context.graph[self.name].start
        if start is None:
            return stored[self.name]
        known = stored if start.stored else {**self.context.values, **self.answers}
        return start.begin(stored[self.name], known[start.source])

    def strength(self) -> float:
        """Return c at the first update of the step."""
        values = {**self.context.values, **self.answers}
        count: int = self.context.states[self.name][0]
        return float(self.rule.strength(count, values))

    def scale(self) -> float:
        """Return the size of what is held and what it is held near, when they were declared."""
        graph = self.context.graph
        starts = [self.shared(graph[name].kind.initial()) for name in (self.name, self.rule.anchor)]
        return max(sum(map(_size, starts)), math.sqrt(sum(value.numel() for value in starts[0])))

    def shared(self, params: Params) -> list[Tensor]:
        """Return the parameters that are held."""
        return [params[key].detach().double() for key in sorted(self.rule.shared)]


def _judge(stage: _Stage, size: float) -> None:
    """Raise if the stage has left all scales and is driven further by its own step."""
    if not FAR * math.sqrt(sum(value.numel() for value in stage.end.values())) < size < math.inf:
        return
    anchor = stage.shared(stage.anchor())
    before = _distance(stage.shared(stage.start()), anchor)
    after = _distance(stage.shared(stage.end), anchor)
    limit, c = FAR * stage.scale(), stage.strength()
    sure = stage.rule.proximal.form == "explicit" and c > 2
    circle = stage.rule.proximal.anchor == "cyclic"
    if driven_away(before, after, anchor=_size(anchor), limit=limit, sure=sure, circle=circle):
        raise DivergenceError(_told(stage, before, after, c), _cure(stage, c), problem=stage.name)


def driven_away(before: float, after: float, *, anchor: float, limit: float, sure: bool, circle: bool) -> bool:
    """Return whether a step took a stage further from what it is held near than a stable one can.

    Args:
        before: |d|, the distance before the step.
        after: |d'|, the distance afterwards, from the same anchor.
        anchor: |A|.
        limit: How far w* may be from the origin.
        sure: Whether the step is known to be unstable for every loss.
        circle: Whether the first stage is held near the last one.
    """
    if (sure and max(before, limit) < after < math.inf) or (circle and CIRCLE * limit < after < math.inf):
        return True
    return 2 * (anchor + limit) < after - before < math.inf


def _told(stage: _Stage, before: float, after: float, c: float) -> str:
    near = f"it is held near {stage.rule.anchor!r} with c = 2*eta*lambda = {c:.3g}"
    grown = f"its distance from it went from {before:.2g} to {after:.2g} in one step"
    return f"the proximal chain diverges at problem {stage.name!r}: {near}, and {grown}"


def _cure(stage: _Stage, c: float) -> str:
    if stage.rule.proximal.form == "explicit" and c > 0.5:
        return "take form='implicit', or a smaller weight: 2*eta*lambda plus eta times the curvature must stay below 2"
    return "lower the step size of the problem: times the curvature of its loss it must stay below 2"


def _size(values: Iterable[Tensor]) -> float:
    return math.sqrt(sum(float(torch.linalg.vector_norm(value)) ** 2 for value in values))


def _distance(left: list[Tensor], right: list[Tensor]) -> float:
    return _size(one - other.to(one.device) for one, other in zip(left, right, strict=True))
