"""Which read is wrong: the law of each read of a graph, tested on its own.

A problem q that reads z keeps the law <pullback(c), d> = c . (x*(z + h d) - x*(z - h d)) / 2h, all other inputs held;
the outermost loss keeps it with the loss itself in the place of x* and c = 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mlo.errors import MLOError
from mlo.evaluate import loss_gradient
from mlo.hypergradient import Unroll
from mlo.hypergradient.run import filled
from mlo.rng import replayed
from mlo.solve import ProblemNode
from mlo.testing.resolve import Reference, answer, difference, frozen, noise, random_directions, step
from mlo.testing.sweep import Sweep, Visit
from mlo.vector import Params, axpy, dot, norm, precision

_DIRECTIONS = 2


def wrong_reads(found: Sweep, of: str, rtol: float) -> list[str]:
    """Return one line for each read, of the loss of `of` or behind an answer, that does not keep the law."""
    lines = [f"{name!r} {text}" for name, text in _wrong_directly(found, of, rtol)]
    behind = {name: _wrong_behind(found, visit, rtol) for name, visit in found.visits.items()}
    for wrong in behind.values():
        # A wrong answer makes all that solve it inside their steps wrong, too: its own line says what to mend.
        lines += [one.line for one in wrong if not one.inside or any(not behind.get(name) for name in one.inside)]
    return lines


def _wrong_directly(found: Sweep, of: str, rtol: float) -> Iterator[tuple[str, str]]:
    """Test the loss of `of` in its own variable and in each answer that it reads."""
    context = found.context
    for name in dict.fromkeys((of, *context.graph[of].reads)):
        if name not in found.movable:
            continue
        at, gradient = context.values[name], found.direct[name]
        h = step(at, precision([at]))
        center = _loss(found, of, name, at)
        for direction in random_directions(at, _DIRECTIONS, seed=0):
            up, down = (_loss(found, of, name, axpy(sign * h, direction, at)) for sign in (1.0, -1.0))
            truth, rounding = difference(up, center, down, h, precision([at]), float(norm(at)))
            given = float(dot(gradient, direction))
            if not Reference(given, truth, rtol * max(float(norm(gradient)), abs(truth)) + rounding).agrees:
                what = "has a loss whose derivative in its own variable" if name == of else "reads"
                yield of, _loss_line(name, of, what, given, truth)
                break


def _loss_line(name: str, of: str, what: str, given: float, truth: float) -> str:
    whose = what if name == of else f"{what} {name!r}, and the derivative of its loss in that answer"
    hint = ": look for .detach(), .item(), .data or a kink in that loss" if given == 0.0 else ""
    return f"{whose} is {given:.6g} where the loss changes by {truth:.6g}{hint}"


def _loss(found: Sweep, of: str, name: str, at: Params) -> float:
    with replayed(found.random):
        moved = found.context.with_values({name: at})
        return float(loss_gradient(moved, of, set(), differentiable=False, stationary=False).loss)


@dataclass(frozen=True)
class _Wrong:
    """One read that does not keep the law, in words; and what is solved inside its step, if it does with that held."""

    line: str
    inside: tuple[str, ...] = ()


def _wrong_behind(found: Sweep, visit: Visit, rtol: float) -> list[_Wrong]:
    """Test each read behind one answer; where others are solved inside its step, find out which of them matters."""
    node, wrong = visit.node, list[_Wrong]()
    for name in node.inputs:
        if name not in found.movable:
            continue
        reference = _law(visit, name, rtol)
        if reference is None:
            continue
        figures = f"the pullback through the answer of {node.name!r} gives {reference.ours:.6g} along a random "
        figures += f"direction of {name!r}, where that answer, solved anew, moves by {reference.truth:.6g}"
        culprits = _inside(found, visit, rtol)
        if culprits:
            line = f"{_read(node, culprits)}, solved inside its step, and {figures}; with it held they agree"
            wrong.append(_Wrong(line, tuple(culprits)))
        else:
            wrong.append(_Wrong(f"{_read(node, [name])}, and {figures}{_hint(visit, reference, rtol)}"))
    return wrong


def _read(node: ProblemNode, names: list[str]) -> str:
    """Say in words how a problem comes to depend on others."""
    others = " and ".join(map(repr, names))
    if all(name in node.problem.dependencies for name in names):
        return f"{node.name!r} reads {others}"
    graph = node.context.graph
    through = [q for q in graph.inside(node.name) if set(names).intersection(graph[q].dependencies)]
    return f"{node.name!r} depends on {others} through {' and '.join(map(repr, through))}"


def _law(visit: Visit, name: str, rtol: float) -> Reference | None:
    """Return a direction along which the pullback of an answer to input `name` breaks the law, None if none does."""
    node, c, at = visit.node, visit.cotangent, visit.node.context.values[name]
    if not float(norm(c)) > 0.0:  # nothing reaches this answer, so that its reads cannot matter
        return None
    part = filled(visit.parts.get(name), at)
    h = step(at, precision([at, c]))
    known = noise(node.context, node.name) * float(norm(c)) * float(norm(visit.trace.answer)) / h
    for direction in random_directions(at, _DIRECTIONS, seed=0):
        up, down = (_answer(visit, name, axpy(sign * h, direction, at)) for sign in (1.0, -1.0))
        truth = float(dot(c, axpy(-1.0, down, up))) / (2 * h)
        slack = rtol * max(float(norm(part)), abs(truth)) + known
        reference = Reference(float(dot(part, direction)), truth, slack)
        if not reference.agrees:
            return reference
    return None


def _answer(visit: Visit, name: str, at: Params) -> Params:
    with replayed(visit.random):
        return answer(visit.node.context.with_values({name: at}), visit.node.name)


def _inside(found: Sweep, visit: Visit, rtol: float) -> list[str]:
    """Return the problems solved inside the step of an answer without whose movement it would be right."""
    graph, node = found.context.graph, visit.node
    inside = list(graph.inside(node.name))
    if not inside or not _right_with(found, visit, (), rtol):
        return []
    alone = [name for name in inside if not _right_with(found, visit, (name,), rtol)]
    return alone or inside


def _right_with(found: Sweep, visit: Visit, free: tuple[str, ...], rtol: float) -> bool:
    """Tell whether an answer keeps the law while of all that is solved inside its step only `free` moves."""
    context, node = frozen(found.context, visit.node.name, but=free), visit.node
    context = replace(context, buffers=node.context.buffers)
    try:
        held = ProblemNode(context, node.name)
        with replayed(visit.random):
            trace = node.problem.response.respond(held, differentiable=False)
            wanted = [name for name in held.inputs if name in found.movable]
            back = node.problem.response.pullback(held, trace, visit.cotangent, wanted, differentiable=False)
        case = replace(visit, node=held, trace=trace, parts=back.parts)
        return all(_law(case, name, rtol) is None for name in wanted)
    except MLOError:  # with the others held there may be nothing left to solve: that says nothing against them
        return not free


def _hint(visit: Visit, reference: Reference, rtol: float) -> str:
    """Say what a wrong answer is known to come from."""
    rule, gap = visit.node.problem.response, _shortfall(visit, rtol)
    if not rule.transmits:
        return f"; {type(rule).__name__} takes it for a constant: use mlo.Unroll() or mlo.Implicit() where it is none"
    if gap:
        return f"; its steps {gap}"
    if rule.assumes_rest and visit.node.steps == 0:
        return "; without steps it cannot be solved anew: give it some"
    if reference.ours == 0.0:
        return "; look for .detach(), .item() or .data in its loss"
    if rule == Unroll():  # exact for any smooth loss, so that it is the loss
        return "; look for .detach(), .item() or .data on a part of its loss, for a kink, or for a memory"
    return ""


def unsettled(found: Sweep, rtol: float) -> list[str]:
    """Return one line for each answer that is not where its rule takes it to be."""
    gaps = {name: _shortfall(visit, rtol) for name, visit in found.visits.items()}
    return [f"the answer of {name!r}, whose steps {gap}" for name, gap in gaps.items() if gap]


def _shortfall(visit: Visit, rtol: float) -> str:
    node = visit.node
    if not node.problem.response.assumes_rest:
        return ""
    with replayed(visit.random):
        settled = answer(node.context, node.name)
    gap = float(norm(axpy(-1.0, settled, visit.trace.answer)))
    if gap <= rtol * float(norm(settled)):
        return ""
    return f"end {gap:.1e} away from where its rule takes it to be at rest: take more of them"
