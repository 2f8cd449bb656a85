"""A reverse sweep of the checker's own: nothing is left out, and every cotangent on the way is kept."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mlo.context import Context
from mlo.evaluate import loss_gradient
from mlo.graph import ProblemGraph
from mlo.hypergradient import AbstractResponse
from mlo.hypergradient.base import Trace
from mlo.hypergradient.promises import pulled
from mlo.hypergradient.run import check_finite, filled
from mlo.rng import RandomState, preserved
from mlo.solve import ProblemNode, solve, total_gradient
from mlo.vector import Params, axpy, norm


@dataclass(frozen=True)
class Visit:
    """One answer in a sweep.

    Attributes:
        node: The problem, in the context in which it was solved.
        trace: Its solve.
        random: The generators before it.
        cotangent: Everything that the objective hands to its answer.
        parts: What its pullback hands on, by input.
    """

    node: ProblemNode
    trace: Trace
    random: RandomState
    cotangent: Params
    parts: dict[str, Params]


@dataclass(frozen=True)
class Sweep:
    """A whole sweep.

    Attributes:
        context: With every answer in it.
        random: The generators before the outermost loss was called.
        direct: What that loss itself hands to the variable and to each answer.
        total: What the variable and each answer are handed in all; of the variable, the hypergradient.
        visits: In solving order, by name.
    """

    context: Context
    random: RandomState
    direct: dict[str, Params]
    total: dict[str, Params]
    visits: dict[str, Visit]

    @property
    def movable(self) -> set[str]:
        """The names of all that moves when the outermost variable does, itself included."""
        return set(self.direct)


def sweep(context: Context, of: str) -> Sweep:
    """Solve every responder of `of` in turn, differentiate the loss, and pull back through each."""
    with preserved():
        solved: list[tuple[ProblemNode, Trace, RandomState]] = []
        for name in context.graph.responders(of):
            random = RandomState.capture()
            node, trace = solve(context, name)
            check_finite(name, trace)
            solved.append((node, trace, random))
            context = context.after(name, trace)
        random, direct = RandomState.capture(), own_reads(context, of)
        table, visits = dict(direct), dict[str, Visit]()
        for node, trace, before in reversed(solved):
            wanted = [name for name in node.inputs if name in table]
            c = table[node.name]
            back = pulled(node.problem.response, node, trace, c, wanted, differentiable=False)
            for name, part in back.parts.items():
                table[name] = axpy(1.0, part, table[name])
            visits[node.name] = Visit(node, trace, before, c, back.parts)
    return Sweep(context, random, direct, table, dict(reversed(visits.items())))


def own_reads(context: Context, of: str) -> dict[str, Params]:
    """Return the derivative of one loss, all else held, in its variable and in each answer that responds to it."""
    names = (of, *context.graph.responders(of))
    seen = loss_gradient(context, of, set(names), differentiable=False, stationary=False)
    return {name: filled(seen.parts.get(name), context.values[name]) for name in names}


def dropped(context: Context, of: str, reference: Sweep, rtol: float) -> list[str]:
    """Compare what the library's sweep gives to each answer, and in the end to the variable, with the reference.

    Returns:
        One line for each of them at which the two part, though they agree on all that was there to be handed on.
    """
    given = _given(context, of)
    lines, parted = [], set[str]()
    for name in (*reversed(_useful(of, reference)), of):
        expected = reference.total[name]
        gap = axpy(-1.0, filled(given.get(name), expected), expected)
        if float(norm(gap)) <= rtol * float(norm(expected)):
            continue
        parted.add(name)
        makers = {other for other, visit in reference.visits.items() if name in visit.parts}
        if not makers & parted:
            lines.append(_path(of, name, gap, reference, rtol))
    return lines


def _useful(of: str, reference: Sweep) -> list[str]:
    """Return, in solving order, the answers from which a cotangent can get to the variable."""
    useful = [of]
    for name, visit in reference.visits.items():
        if visit.node.problem.response.transmits and set(useful).intersection(visit.node.inputs):
            useful.append(name)
    return useful[1:]


def _given(context: Context, of: str) -> dict[str, Params]:
    """Return the cotangents that `total_gradient` gives to the pullbacks of its own sweep, and its result."""
    given: dict[str, Params] = {}
    depth: list[None] = []  # as long as the number of rules that are at work: others' sweeps go on inside them
    problems = [replace(p, response=_watched(p.response, depth, given)) for p in context.graph.problems]
    with preserved():
        solved = total_gradient(replace(context, graph=ProblemGraph(problems)), of, (of,))
    return given | solved.seen.parts


def _watched(rule: AbstractResponse, depth: list[None], given: dict[str, Params]) -> AbstractResponse:
    """Return the same rule, of the same class, that puts down the cotangent of each pullback that is not nested."""

    def watch(method: Callable[..., Any], *, note: bool) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if note and not depth:
                node, _, cotangent, _ = args
                given[node.name] = cotangent
            depth.append(None)
            try:
                return method(*args, **kwargs)
            finally:
                depth.pop()

        return call

    watched = copy.copy(rule)
    object.__setattr__(watched, "respond", watch(rule.respond, note=False))
    object.__setattr__(watched, "pullback", watch(rule.pullback, note=True))
    return watched


def _path(of: str, name: str, gap: Params, reference: Sweep, rtol: float) -> str:
    """Name the contribution to what `name` is handed that is missing, if it is one."""
    found = {of: reference.direct[name]}
    found |= {other: visit.parts[name] for other, visit in reference.visits.items() if name in visit.parts}
    size = float(norm(gap))
    alike = [other for other, part in found.items() if float(norm(axpy(-1.0, part, gap))) <= rtol * size]
    if not alike:
        makers = ", ".join(map(repr, found))
        return f"the paths from {makers} to {name!r} are added up wrongly, off by a cotangent of norm {size:.3e}"
    read = " or ".join(f"{other!r} reads {name!r}" if other != name else f"{of!r} uses itself" for other in alike)
    return f"{read}, and this path is dropped from the sweep, which lacks a cotangent of norm {size:.3e}"
