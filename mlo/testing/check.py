"""Checks for a problem graph of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mlo.autodiff import cut, named_vjp
from mlo.context import Context
from mlo.errors import ConfigError, HypergradientMismatch
from mlo.gradient import checked_graph, prepared, recording
from mlo.graph import ProblemGraph
from mlo.hypergradient import Implicit
from mlo.hypergradient.run import filled, run
from mlo.rng import RandomState, preserved, replayed
from mlo.solve import ProblemNode, objective, total_gradient
from mlo.testing.resolve import Reference, along, answer, frozen, ours
from mlo.vector import Params, axpy, norm, unit


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
        rtol: Largest difference relative to the hypergradient's norm; None: 1e-5 in float64, 5e-2 in float32. Give a
            larger one for `FiniteDifference` inside of `FiniteDifference`, which resolves 1e-4 or so, and for implicit
            answers that are not solved to the end.
        seed: Of the directions.

    Raises:
        ConfigError: If `directions` is below 1.
        HypergradientMismatch: If they differ; the message says by how much and through which answer.
    """
    if directions < 1:
        raise ConfigError(f"check_hypergradient: directions must be >= 1, got {directions}")
    with preserved(), recording():
        context = _prepared(graph, of, values, batches)
        gradient = ours(context, of)
        rtol = _tolerance(gradient) if rtol is None else rtol
        for direction in _directions(context.values[of], directions, seed):
            found = along(context, of, gradient, direction, rtol)
            if not found.agrees:
                raise HypergradientMismatch(_explain(context, of, direction, found, rtol))
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


def _by_autograd(context: Context, of: str) -> Params | None:
    """Differentiate the recorded objective as a whole, or return None where a rule cuts it."""
    names = context.graph.responders(of)
    if not all(context.graph[name].response.transmits for name in names):
        return None
    leaves = cut(context.values[of], differentiable=False)
    with replayed(RandomState.capture()):
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


def _directions(at: Params, count: int, seed: int) -> list[Params]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        drawn = {k: torch.randn(v.shape, generator=generator, dtype=torch.float64).to(v) for k, v in at.items()}
        found.append(unit(drawn)[0])
    return found


def _explain(context: Context, of: str, direction: Params, found: Reference, rtol: float) -> str:
    message = (
        f"the hypergradient of problem {of!r} is wrong: along a random direction it is {found.ours:.9g}, but the "
        f"re-solved objective changes by {found.truth:.9g} (allowed difference {found.slack:.1e})"
    )
    suspects = _suspects(context, of, direction, rtol)
    if not suspects:
        return f"{message}; no single answer is off on its own: suspect how answers move each other"
    return f"{message}; with all other answers held, off through {'; '.join(suspects)}"


def _suspects(context: Context, of: str, direction: Params, rtol: float) -> list[str]:
    """Describe the answers that are off: each on its own, or else each with what is solved inside its step."""
    graph, answered = context.graph, context
    for name in graph.responders(of):
        answered = answered.with_values({name: answer(answered, name)})
    for inside in (False, True):
        suspects = []
        for name in graph.responders(of):
            free = {name, *(graph.responders(name) if inside else ())}
            alone = frozen(answered, of, but=free)
            reference = along(alone, of, ours(alone, of), direction, rtol)
            if not reference.agrees:
                others = "".join(f" with {other!r} solved inside its step" for other in sorted(free - {name}))
                figures = f"{reference.ours:.6g} against {reference.truth:.6g}"
                suspects.append(f"the answer of {name!r}{others} ({figures}{_shortfall(answered, name, rtol)})")
        if suspects:
            return suspects
    return []


def _shortfall(context: Context, name: str, rtol: float) -> str:
    """Say so if the declared steps of an implicit rule end before its stationary point."""
    if not isinstance(context.graph[name].response, Implicit):
        return ""
    gap = float(norm(axpy(-1.0, context.values[name], run(ProblemNode(context, name)).answer)))
    if gap <= rtol * float(norm(context.values[name])):
        return ""
    return f"; its steps end {gap:.1e} away from the stationary point that its rule assumes: take more of them"
