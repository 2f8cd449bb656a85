"""Checks for a problem graph of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mlo.autodiff import cut, named_vjp
from mlo.checks import check_count
from mlo.context import Context
from mlo.errors import HypergradientMismatch, LossError
from mlo.gradient import checked_gradient, checked_graph, prepared, recording
from mlo.graph import ProblemGraph
from mlo.hypergradient.run import filled
from mlo.rng import RandomState, preserved, replayed
from mlo.solve import solve, total_gradient
from mlo.testing.edges import unsettled, wrong_reads
from mlo.testing.objective import objective
from mlo.testing.resolve import Reference, difference, noise, random_directions, resolved, step
from mlo.testing.sweep import Sweep, dropped, sweep
from mlo.vector import Params, axpy, dot, norm, precision


def check_hypergradient(
    graph: ProblemGraph,
    *,
    of: str,
    values: Mapping[str, Any] | None = None,
    batches: Mapping[str, Any] | None = None,
    directions: int = 3,
    rtol: float | None = None,
    seed: int = 0,
) -> None:
    """Compare a hypergradient with central differences of the re-solved objective, and with plain autograd.

    Along random unit directions d, <hypergradient, d> must equal (F(x + h d) - F(x - h d)) / 2h, where F solves every
    answer anew: by the declared steps, and for rules that take an answer to be at rest on until the steps stand
    still. A problem that is solved by total gradients, with others solved inside its step, has those checked first,
    where its solve starts. Where every answer carries a derivative, the hypergradient must also equal what autograd
    finds through the recorded solves.

    If it is wrong, each read is tested on its own: of the outermost loss, and of each problem that responds, for which
    <pullback(c), d> must equal c . (x*(z + h d) - x*(z - h d)) / 2h with all other inputs held. If all reads are
    right, the sweep over them is followed: it must add up every path.

    Use float64: in float32 the differences resolve two digits.

    Args:
        graph: The problems.
        of: The problem whose hypergradient is checked.
        values: As for `mlo.hypergradient`.
        batches: As for `mlo.hypergradient`.
        directions: How many random directions.
        rtol: Largest difference relative to the hypergradient's norm; None: 1e-5 in float64, 5e-2 in float32. Give a
            larger one for `FiniteDifference` inside of `FiniteDifference`, which resolves 1e-4 or so, and for implicit
            answers that are not solved to the end.
        seed: Of the directions.

    Raises:
        ConfigError: If `directions` is not a whole number >= 1.
        HypergradientMismatch: If they differ; the message says by how much and which read is wrong.

    Examples:
        >>> import mlo, torch, torchopt
        >>> one = torch.ones((), dtype=torch.float64)
        >>> x = mlo.Problem("x", lambda v, _: v.w**2, one, reads=["w"])
        >>> w = mlo.Problem("w", lambda v, _: (v.w - v.x) ** 2, one, reads=["x"], update=torchopt.sgd(0.25), steps=2)
        >>> mlo.testing.check_hypergradient(mlo.ProblemGraph([x, w]), of="x")  # says nothing: it is right
    """
    check_count("check_hypergradient", "directions", directions)
    with preserved(), recording():
        context = _prepared(graph, of, values, batches)
        rtol = _tolerance(context.values[of]) if rtol is None else rtol
        drawn = {name: random_directions(context.values[name], directions, seed) for name in graph.names}
        for name, place in reversed(_solved_by_total_gradients(context, of)):
            where = f", by which {name!r} is solved inside the step of {of!r},"
            _check(place, name, drawn[name], rtol, where)
        gradient = _check(context, of, drawn[of], rtol)
        exact = _by_autograd(context, of)
        if exact is not None:
            _compare_with_autograd(of, gradient, exact, rtol)


def check_deterministic(
    graph: ProblemGraph,
    *,
    of: str,
    values: Mapping[str, Any] | None = None,
    batches: Mapping[str, Any] | None = None,
) -> None:
    """Check that the loss and the hypergradient of a problem are the same, bit for bit, when taken twice.

    Raises:
        HypergradientMismatch: If not; then a loss draws on something else than torch, numpy and `random`, or has a
            memory.

    Examples:
        >>> import mlo, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.x * torch.rand(()), torch.tensor(1.0))
        >>> mlo.testing.check_deterministic(mlo.ProblemGraph([x]), of="x")  # torch.rand is put back, so it repeats
    """
    with preserved(), recording():
        context = _prepared(graph, of, values, batches)
        random, found = RandomState.capture(), []
        for _ in range(2):
            with replayed(random):
                solved = total_gradient(context, of, (of,))
            found.append((solved.seen.loss, solved.seen.parts.get(of, {})))
    (loss, first), (again, second) = found
    if not torch.equal(loss, again):
        raise HypergradientMismatch(f"the loss of problem {of!r} differs between two evaluations: {loss} and {again}")
    for name, value in first.items():
        if not torch.equal(value, second[name]):
            where = f"the hypergradient of problem {of!r}, entry {name!r},"
            raise HypergradientMismatch(f"{where} differs between two evaluations of the same thing")


def _prepared(
    graph: ProblemGraph, of: str, values: Mapping[str, Any] | None, batches: Mapping[str, Any] | None
) -> Context:
    checked_graph("mlo.testing", graph)[of]
    return prepared(graph, of, values or {}, batches or {})


def _solved_by_total_gradients(context: Context, of: str) -> list[tuple[str, Context]]:
    """Return the responders with others solved inside their step, in solving order, and where their solves start."""
    found = []
    with preserved():
        for name in context.graph.responders(of):
            node, trace = solve(context, name)
            if node.context.graph.inside(name) and (node.steps > 0 or node.problem.response.assumes_rest):
                found.append((name, context.with_values({name: node.start().params})))
            context = context.after(name, trace)
    return found


def _check(context: Context, of: str, directions: list[Params], rtol: float, where: str = "") -> Params:
    """Return the hypergradient of `of`, or raise if it is wrong."""
    reference = sweep(context, of)
    with preserved():
        solved = total_gradient(context, of, (of,))
    nothing: LossError | None = None
    try:
        gradient = checked_gradient(context, of, solved)
    except LossError as error:  # the differences say whether there should have been something, and they say where
        nothing, gradient = error, filled(None, context.values[of])
    center = float(resolved(context, of, context.values[of]))
    for direction in directions:
        found = _along(context, of, gradient, direction, rtol, reference, center)
        if not found.agrees:
            raise HypergradientMismatch(
                f"the hypergradient of problem {of!r}{where} is wrong: along a random direction it is "
                f"{found.ours:.9g}, but the re-solved objective changes by {found.truth:.9g} (allowed difference "
                f"{found.slack:.1e}); "
                f"{_memory(context, of, center) or _explain(context, of, reference, rtol) + _doubt(context, of, found)}"
            )
    if nothing is not None:
        raise nothing
    return gradient


def _along(
    context: Context, of: str, gradient: Params, direction: Params, rtol: float, reference: Sweep, center: float
) -> Reference:
    """Compare `gradient` with central differences along one direction."""
    at, visits = context.values[of], reference.visits
    answers = {name: visit.trace.answer for name, visit in visits.items()}
    eps = precision([at, *answers.values()])
    h = step(at, eps)
    up, down = (float(resolved(context, of, axpy(sign * h, direction, at))) for sign in (1.0, -1.0))
    size = sum(float(norm(value)) for value in (at, *answers.values()))
    truth, rounding = difference(up, center, down, h, eps, size)
    loose = [noise(context, name) * float(norm(visits[name].cotangent) * norm(answers[name])) for name in visits]
    return Reference(float(dot(gradient, direction)), truth, rtol * float(norm(gradient)) + rounding + sum(loose) / h)


def _memory(context: Context, of: str, center: float) -> str:
    """Say that an objective differs from itself, if it does: then no difference of it means anything."""
    again = float(resolved(context, of, context.values[of]))
    if abs(again - center) <= 100 * precision([context.values[of]]) * abs(center):
        return ""
    cause = "a loss has a memory, or draws from a random generator of its own"
    return f"but that objective is {center:.9g}, and solved once more {again:.9g}: {cause} (see check_deterministic)"


def _doubt(context: Context, of: str, found: Reference) -> str:
    """Say what makes a difference that is wrong, or nearly right, though the hypergradient is right."""
    if precision([context.values[of]]) > 1e-10:
        return "; in float32 differences resolve two digits at best: check a float64 copy before you believe this"
    if 0.0 < abs(found.ours - found.truth) < 0.01 * abs(found.truth):
        cause = "a kink (ReLU, max pooling) that the difference crosses gives this, too"
        return f"; they differ by less than 1 %: {cause}, so check a smooth copy, or at other values"
    return ""


def _explain(context: Context, of: str, reference: Sweep, rtol: float) -> str:
    """Say which read is wrong, or else which path."""
    found = wrong_reads(reference, of, rtol) or unsettled(reference, rtol)
    if found:
        return f"wrong: {'; '.join(found)}"
    paths = dropped(context, of, reference, rtol)
    if paths:
        return f"every read is right on its own, but wrong is how they are put together: {'; '.join(paths)}"
    return "no single read is wrong on its own: suspect a loss that is not smooth here, or that has a memory"


def _by_autograd(context: Context, of: str) -> Params | None:
    """Differentiate the recorded objective as a whole, or return None where a rule cuts it, or keeps no record."""
    rules = [context.graph[name].response for name in context.graph.responders(of)]
    if not all(rule.transmits and rule.carries_history for rule in rules):
        return None
    leaves = cut(context.values[of], differentiable=False)
    with preserved():
        loss = objective(context.with_values({of: leaves}), of)
    return filled(named_vjp([loss], {of: leaves}, [torch.ones_like(loss)]).get(of), leaves)


def _compare_with_autograd(of: str, ours: Params, exact: Params, rtol: float) -> None:
    gap, size = float(norm(axpy(-1.0, exact, ours))), float(norm(exact))
    if not gap <= rtol * max(size, torch.finfo(torch.float64).tiny):
        raise HypergradientMismatch(
            f"the hypergradient of problem {of!r} differs from autograd through the recorded solves by {gap:.3e} "
            f"(norm {size:.3e}, allowed {rtol:.1e} of it)"
        )


def _tolerance(params: Params) -> float:
    return 1e-5 if all(value.dtype == torch.float64 for value in params.values()) else 5e-2
