"""Checks for a problem graph of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mlo.errors import HypergradientMismatch
from mlo.gradient import checked_gradient, checked_graph, make_context, recording
from mlo.graph import ProblemGraph
from mlo.hypergradient import FirstOrder, Implicit
from mlo.hypergradient.run import run
from mlo.rng import RandomState, preserved, replayed
from mlo.solve import Context, ProblemNode, objective, solve, total_gradient
from mlo.vector import Params, axpy, dot, norm

_SETTLED = 1e-11
_MOST_ROUNDS = 2000


@dataclass(frozen=True)
class _Reference:
    """One direction: our derivative along it, and that of the re-solved objective."""

    ours: float
    truth: float
    slack: float

    @property
    def agrees(self) -> bool:
        return abs(self.ours - self.truth) <= self.slack


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
    answer anew: by the declared steps, and for implicit rules on until the gradient vanishes. Where every answer
    carries a derivative, it must also equal what autograd finds through the recorded solves.

    Use float64: in float32 the differences resolve two digits.

    Args:
        graph: The problems.
        of: The problem whose hypergradient is checked.
        values: As for `mlo.hypergradient`.
        batches: As for `mlo.hypergradient`.
        directions: How many random directions.
        rtol: Largest difference relative to the hypergradient's norm; None: 1e-5 in float64, 5e-2 in float32.
        seed: Of the directions.

    Raises:
        HypergradientMismatch: If they differ; the message says by how much and through which answer.
    """
    with preserved(), recording():
        context = _prepared(graph, of, values, batches)
        gradient, exact = _ours(context, of), _by_autograd(context, of)
        rtol = _tolerance(gradient) if rtol is None else rtol
        if exact is not None:
            _compare_with_autograd(of, gradient, exact, rtol)
        for direction in _directions(context.values[of], directions, seed):
            found = _along(context, of, gradient, direction, rtol)
            if not found.agrees:
                raise HypergradientMismatch(_explain(context, of, direction, found, rtol))


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
    context = make_context(graph, values or {}, batches or {})
    for name in graph.solved_before(of):
        _, trace = solve(context, name)
        context = context.with_values({name: trace.answer})
    return context


def _ours(context: Context, of: str) -> Params:
    return checked_gradient(context, of, total_gradient(context, of, (of,)))


def _by_autograd(context: Context, of: str) -> Params | None:
    """Differentiate the recorded objective as a whole, or return None where a rule cuts it."""
    names = context.graph.responders(of)
    if not all(context.graph[name].response.transmits for name in names):
        return None
    leaves = {key: value.detach().requires_grad_() for key, value in context.values[of].items()}
    loss = objective(context.with_values({of: leaves}), of)
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    pairs = zip(leaves.items(), found, strict=True)
    return {key: torch.zeros_like(at) if value is None else value for (key, at), value in pairs}


def _compare_with_autograd(of: str, ours: Params, exact: Params, rtol: float) -> None:
    gap, size = float(norm(axpy(-1.0, exact, ours))), float(norm(exact))
    if not gap <= rtol * max(size, torch.finfo(torch.float64).tiny):
        raise HypergradientMismatch(
            f"the hypergradient of problem {of!r} differs from autograd through the recorded solves by {gap:.3e} "
            f"(norm {size:.3e}, allowed {rtol:.1e} of it)"
        )


def _tolerance(params: Params) -> float:
    return 1e-5 if all(value.dtype == torch.float64 for value in params.values()) else 5e-2


def _directions(at: Params, count: int, seed: int) -> list[Params]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        drawn = {k: torch.randn(v.shape, generator=generator, dtype=torch.float64).to(v) for k, v in at.items()}
        size = norm(drawn)
        found.append({key: value / size for key, value in drawn.items()})
    return found


def _along(context: Context, of: str, gradient: Params, direction: Params, rtol: float) -> _Reference:
    at = context.values[of]
    eps = max(torch.finfo(value.dtype).eps for value in at.values())
    # Central differences: truncation grows as h^2, rounding as eps / h; their sum is least near eps^(1/3).
    h = eps ** (1 / 3) * max(1.0, float(norm(at)))
    up, down = (float(_resolved(context, of, axpy(sign * h, direction, at))) for sign in (1.0, -1.0))
    rounding = 8 * eps * max(abs(up), abs(down)) / h
    slack = rtol * float(norm(gradient)) + rounding
    return _Reference(float(dot(gradient, direction)), (up - down) / (2 * h), slack)


def _resolved(context: Context, of: str, at: Params) -> Tensor:
    """Return the objective at `at` with every answer found anew, implicit ones to stationarity."""
    random = RandomState.capture()
    with replayed(random):
        context = context.with_values({of: at})
        for name in context.graph.responders(of):
            context = context.with_values({name: _answer(context, name)})
        return total_gradient(_frozen(context, of), of, (of,)).seen.loss


def _answer(context: Context, name: str) -> Params:
    """Solve one problem anew, on until its gradient vanishes if its rule is implicit."""
    trace = run(ProblemNode(context, name))
    if isinstance(context.graph[name].response, Implicit) and trace.gradient_norm is not None:
        for _ in range(_MOST_ROUNDS):
            before = trace.answer
            start = replace(
                context,
                stored={**context.stored, name: trace.answer},
                states={**context.states, name: trace.end.state},
            )
            trace = run(ProblemNode(start, name))
            if float(norm(axpy(-1.0, before, trace.answer))) <= _SETTLED * max(1.0, float(norm(before))):
                break
    return trace.answer


def _frozen(context: Context, of: str, *, but: str | None = None) -> Context:
    """Return the context in which all responders of `of` (but one) stay at their present values."""
    names = set(context.graph.responders(of)) - {but}
    problems = [replace(p, response=FirstOrder(), steps=0) if p.name in names else p for p in context.graph.problems]
    stored = {**context.stored, **{name: context.values[name] for name in names}}
    return replace(context, graph=ProblemGraph(problems), stored=stored)


def _explain(context: Context, of: str, direction: Params, found: _Reference, rtol: float) -> str:
    message = (
        f"the hypergradient of problem {of!r} is wrong: along a random direction it is {found.ours:.9g}, but the "
        f"re-solved objective changes by {found.truth:.9g} (allowed difference {found.slack:.1e})"
    )
    suspects = _suspects(context, of, direction, rtol)
    if not suspects:
        return f"{message}; no single answer is off on its own: suspect how answers move each other"
    named = "; ".join(f"the answer of {name!r} ({ref.ours:.6g} against {ref.truth:.6g})" for name, ref in suspects)
    return f"{message}; with all other answers held, off through {named}"


def _suspects(context: Context, of: str, direction: Params, rtol: float) -> list[tuple[str, _Reference]]:
    """Check each answer on its own, all others held where they are."""
    answered = context
    for name in context.graph.responders(of):
        answered = answered.with_values({name: _answer(answered, name)})
    suspects = []
    for name in context.graph.responders(of):
        alone = _frozen(answered, of, but=name)
        reference = _along(alone, of, _ours(alone, of), direction, rtol)
        if not reference.agrees:
            suspects.append((name, reference))
    return suspects
