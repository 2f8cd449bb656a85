"""Which rule for this problem: measured on the user's own graph, not guessed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from mlo.advice import Advice, Measurement
from mlo.checks import check_count, check_positive
from mlo.context import Context, Tally
from mlo.errors import MLOError
from mlo.gradient import checked_gradient, checked_graph, prepared, recording
from mlo.graph import ProblemGraph
from mlo.hypergradient import AbstractResponse, FiniteDifference, FirstOrder, FixedPoint, Implicit, Recompute, Unroll
from mlo.label import label
from mlo.linear import CG, GMRES, Dense, Identity, Neumann, Nystrom
from mlo.linear.base import AbstractLinearSolver
from mlo.meter import LiveBytes
from mlo.problem import Problem
from mlo.rng import preserved
from mlo.solve import total_gradient
from mlo.vector import Params, axpy, dot, norm

_DENSE_UP_TO = 200
_LONGER = 10


def advise(
    graph: ProblemGraph,
    *,
    of: str,
    values: Mapping[str, Any] | None = None,
    batches: Mapping[str, Any] | None = None,
    candidates: Sequence[AbstractResponse] | None = None,
    at_rest: bool | None = None,
    tolerance: float = 0.05,
    rounds: int = 3,
) -> Advice:
    """Measure response rules on a graph, and recommend the fastest that is accurate enough.

    Every candidate takes the place of the rules of all problems that respond to `of`, at the same values, batches and
    random numbers. Its hypergradient is compared with a tight reference; time, gradients and memory are those of one
    hypergradient. Nothing is changed. Prints the table that it returns.

    The reference differentiates exactly what is done: the declared steps, unrolled. For a problem whose declared rule
    takes its answer to be at rest (`Implicit` and its like) it is the derivative there: the solve goes on for 10 times
    the steps, and the linear system is solved to 1e-10 (densely up to 200 unknowns).

    Args:
        graph: The problems.
        of: The problem whose hypergradient is wanted.
        values: As for `mlo.hypergradient`; for an advice that counts, those of a training that is under way.
        batches: As for `mlo.hypergradient`.
        candidates: Rules to measure besides the declared ones; None for a choice of all kinds.
        at_rest: Whether the reference takes answers to be at rest; None: as the declared rules do.
        tolerance: Largest relative error that is accurate enough.
        rounds: How often each candidate is timed; rounds go over all candidates in turn, and the median counts.

    Returns:
        The measurements and the recommendation; `print(advice)` shows the table again.

    Raises:
        ConfigError: If `rounds` or `tolerance` is out of range.
        MLOError: If the graph as it is declared, or the reference, has no hypergradient.

    Examples:
        >>> import mlo, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.w**2, torch.tensor(3.0), reads=["w"], update=torchopt.sgd(0.1))
        >>> w = mlo.Problem("w", lambda v, _: (v.w - v.x) ** 2, torch.zeros(()), reads=["x"], update=torchopt.sgd(0.5))
        >>> graph = mlo.ProblemGraph([x, w])
        >>> advice = mlo.advise(graph, of="x", candidates=[mlo.FirstOrder()])  # doctest: +ELLIPSIS
        hypergradient of 'x'; reference: the declared steps of w, unrolled
        ...
        >>> advice.recommended.rule
        'as declared'
    """
    check_count("advise", "rounds", rounds)
    check_positive("advise", "tolerance", tolerance)
    checked_graph("advise", graph)[of]
    with preserved(), recording():
        context = prepared(graph, of, values or {}, batches or {})
        resting = [name for name in graph.responders(of) if _rests(graph[name], at_rest)]
        truth = _gradient(_with(context, _reference(context, of, resting)), of)
        entrants = _entrants(context, of, candidates)
        rows = [_measured(name, entrant, of, truth) for name, entrant in entrants]
        rows = _timed(rows, dict(entrants), of, rounds)
    advice = Advice(of, tuple(rows), _describe(graph, of, resting), tolerance)
    print(advice)
    return advice


def _rests(problem: Problem, at_rest: bool | None) -> bool:
    # A value that is taken as it stands has no steps that could be unrolled.
    declared = at_rest is None or problem.rule is None
    return problem.response.assumes_rest if declared else bool(at_rest)


def _describe(graph: ProblemGraph, of: str, resting: Sequence[str]) -> str:
    parts = []
    if resting:
        parts.append(f"{', '.join(resting)} at rest, differentiated implicitly")
    stepped = [name for name in graph.responders(of) if name not in resting]
    if stepped:
        parts.append(f"the declared steps of {', '.join(stepped)}, unrolled")
    return "; ".join(parts) or "none is needed: no answer responds"


def _reference(context: Context, of: str, resting: Sequence[str]) -> ProblemGraph:
    """Return the graph with the rules that are nearest to the truth."""
    found = []
    for problem in context.graph.problems:
        if problem.name in resting:
            rule = _tight(problem, context.values[problem.name])
            found.append(replace(problem, response=rule, steps=problem.steps * _LONGER, tolerance=0.0))
        elif problem.name in context.graph.responders(of):
            found.append(replace(problem, response=Unroll(memory=Recompute()), tolerance=0.0))
        else:
            found.append(problem)
    return ProblemGraph(found)


def _tight(problem: Problem, at: Params) -> AbstractResponse:
    small = sum(value.numel() for value in at.values()) <= _DENSE_UP_TO
    if problem.rule is not None and problem.rule.rests_elsewhere() is not None:
        return FixedPoint(Dense() if small else GMRES(max_steps=1000))
    solver: AbstractLinearSolver = Dense() if small else CG(max_steps=1000)
    return Implicit(solver)


def _entrants(
    context: Context, of: str, candidates: Sequence[AbstractResponse] | None
) -> list[tuple[str, Context | MLOError]]:
    """Return each candidate's context by its label, or why it is refused."""
    graph = context.graph
    names = graph.responders(of)
    if not names:  # every rule would give the same, so that only noise would tell them apart
        return [("as declared", context)]
    most = max((graph[name].steps for name in names), default=1)
    found: list[tuple[str, Context | MLOError]] = [("as declared", context)]
    if any(graph.inside(name) for name in names):
        found.append(("as declared, partial=True", replace(context, partial=True)))
    for rule in _kinds(most) if candidates is None else candidates:
        try:
            changed = [replace(p, response=rule, tolerance=0.0) if p.name in names else p for p in graph.problems]
            found.append((label(rule), _with(context, ProblemGraph(changed))))
        except MLOError as error:
            found.append((label(rule), error))
    return found


def _kinds(steps: int) -> list[AbstractResponse]:
    difference = FiniteDifference()
    unrolled: list[AbstractResponse] = [Unroll(), Unroll(product=difference)]
    if steps > 3:
        unrolled += [Unroll(memory=Recompute()), Unroll(truncate=max(1, steps // 4))]
    solvers: list[AbstractLinearSolver] = [Identity(), Neumann(max_steps=5), Nystrom(rank=5), CG(max_steps=5), CG()]
    implicit = [Implicit(solver) for solver in solvers]
    return [FirstOrder(), *unrolled, *implicit, Implicit(CG(max_steps=5), product=difference), FixedPoint()]


def _with(context: Context, graph: ProblemGraph) -> Context:
    return replace(context, graph=graph, tally=Tally())


def _gradient(context: Context, of: str) -> Params:
    with preserved():
        return checked_gradient(context, of, total_gradient(context, of, (of,)))


def _measured(name: str, entrant: Context | MLOError, of: str, truth: Params) -> Measurement:
    """Take one hypergradient for its numbers, its gradients and its memory; time follows."""
    if isinstance(entrant, MLOError):
        return Measurement(name, refusal=str(entrant))
    tally = Tally()
    try:
        with LiveBytes() as memory:
            found = _gradient(replace(entrant, tally=tally), of)
    except MLOError as error:
        return Measurement(name, refusal=str(error))
    size, length = float(norm(truth)), float(norm(found))
    gap = float(norm(axpy(-1.0, truth, found)))
    return Measurement(
        name,
        gradients=tally.gradients,
        memory=memory.peak,
        cosine=float(dot(found, truth)) / (size * length) if size and length else float("nan"),
        error=gap / size if size else gap,
        unconverged=max((solution.residual for solution in tally.unconverged.values()), default=0.0),
    )


def _timed(
    rows: Sequence[Measurement], entrants: Mapping[str, Context | MLOError], of: str, rounds: int
) -> list[Measurement]:
    """Add the median time of each row that has a hypergradient."""
    seconds: dict[str, list[float]] = {row.rule: [] for row in rows if row.refusal is None}
    for _ in range(rounds):
        for name, taken in seconds.items():
            entrant = entrants[name]
            if isinstance(entrant, Context):
                _wait()
                began = time.perf_counter()
                _gradient(entrant, of)
                _wait()
                taken.append(time.perf_counter() - began)
    return [replace(row, seconds=statistics.median(seconds[row.rule])) if row.rule in seconds else row for row in rows]


def _wait() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
