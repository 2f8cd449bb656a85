"""Just the gradient: no engine, no side effect."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from mlo.blame import blame_gradient, blame_loss
from mlo.cause import explained
from mlo.context import Context
from mlo.errors import DataError, GraphError, LossError, UnconvergedWarning
from mlo.feed import ENDED, Feed
from mlo.flat import Flat
from mlo.graph import ProblemGraph
from mlo.hypergradient.run import watch
from mlo.look import Look
from mlo.outline import outline
from mlo.parallel import AbstractRanks, Alone, present_ranks
from mlo.position import PassStart
from mlo.problem import Problem
from mlo.rng import preserved
from mlo.solve import settle, total_gradient
from mlo.solved import Solved
from mlo.supply import Drawn, share
from mlo.vector import Params, norm, zeros_like


def hypergradient(
    graph: ProblemGraph,
    *,
    of: str,
    values: Mapping[str, Any] | None = None,
    batches: Mapping[str, Any] | None = None,
    partial: bool = False,
    parallel: AbstractRanks | None = None,
) -> Any:
    """Return the total derivative of one problem's objective with respect to its own variable.

    dF/dx = d_x f(x, y*(x), ...) + sum over answers of d_y f . dy*/dx, where each answer is found from `values` by its
    problem's own update and steps, and responds by its own rule. Nothing is changed: weights, buffers, generators and
    data positions are the same before and after.

    Args:
        graph: The problems.
        of: The problem whose objective is differentiated.
        values: Where every solve starts, by problem name: a tensor, a dict of tensors or a module, like the problem's
            variable. A problem that is not named starts from its declared variable. Optimizer states start afresh. An
            engine's `values` hold no module buffers: for BatchNorm in evaluation mode give `engine.export(name)`.
        batches: One batch by problem name. A problem that is not named gets the first of its own batches, and keeps its
            place in them (if it is a list, a DataLoader, or saves its place by `state_dict`; name a batch otherwise).
        partial: Differentiate each answer with the answers below it held fixed. Cheaper with three levels and more,
            where it leaves out how deeper answers move and what they read: an approximation, and with nested problems
            a bad one. With two levels it changes nothing.
        parallel: As for `mlo.Engine`: ranks that have a share of each batch get the hypergradient of all together.

    Returns:
        The derivative, shaped as the variable: a tensor for a tensor, a dict by parameter name for a dict or a module.

    Raises:
        GraphError: If a name is unknown or a value does not fit its problem.
        DataError: If a batch is needed and there is none.
        LossError: If a loss is not a scalar, or the objective does not depend on the variable.
        DivergenceError: If a loss or the derivative is not finite; the message names the problem.
        UnconvergedError: If a linear solve did not converge, or a solve did not reach its `tolerance` though its rule
            needs it to, and that rule is `strict`; otherwise it is warned of.

    Examples:
        >>> import mlo, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.w**2, torch.tensor(3.0), reads=["w"], update=torchopt.sgd(0.1))
        >>> w = mlo.Problem("w", lambda v, _: (v.w - v.x) ** 2, torch.zeros(()), reads=["x"], update=torchopt.sgd(0.5))
        >>> mlo.hypergradient(mlo.ProblemGraph([x, w]), of="x")  # 2 w dw/dx, and the one step ends at w = x
        tensor(6.)
    """
    checked_graph("hypergradient", graph)[of]  # raises for an unknown name before any work is done
    ranks = present_ranks(parallel)
    with ranks.guarded(lambda: ["hypergradient", f"{of=} {partial=}", *outline(graph)]), preserved(), recording():
        begun = prepared(graph, of, {} if values is None else values, {} if batches is None else batches, ranks=ranks)
        context = replace(begun, partial=partial)
        with explained(context):
            solved = total_gradient(context, of, (of,))
            gradient = checked_gradient(context, of, solved)
    for message in context.tally.complaints().values():
        warnings.warn(message, UnconvergedWarning, stacklevel=2)
    return graph[of].kind.structure(gradient)


@contextmanager
def recording() -> Iterator[None]:
    """Let autograd record in the body, whatever mode the caller is in."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        yield


def checked_graph(user: str, graph: ProblemGraph) -> ProblemGraph:
    """Return `graph`, or raise if it is something else."""
    if not isinstance(graph, ProblemGraph):
        raise GraphError(f"{user}: needs an mlo.ProblemGraph([outermost, ...]), got {type(graph).__name__}: make one")
    return graph


def same(ranks: AbstractRanks, params: Params) -> Params:
    """Return the value that the first rank has."""
    if ranks.replicas * ranks.members == 1:
        return params
    flat = Flat.of(params)
    return Flat(flat.layout, vectors=ranks.same(flat.vectors))


def prepared(
    graph: ProblemGraph,
    of: str,
    values: Mapping[str, Any],
    batches: Mapping[str, Any],
    *,
    ranks: AbstractRanks | None = None,
) -> Context:
    """Return the context of a gradient of problem `of`, with the deeper problems solved that are constants in it."""
    look, context = Look(), make_context(graph, values, batches, ranks=ranks)
    with explained(context):
        context, _ = settle(context, graph.solved_before(of), look)
        look.take()
    return context


def make_context(
    graph: ProblemGraph,
    values: Mapping[str, Any],
    batches: Mapping[str, Any],
    *,
    ranks: AbstractRanks | None = None,
) -> Context:
    """Put together a context from what a user gave and the problems declare."""
    ranks = ranks or Alone()
    for kind, given in (("values", values), ("batches", batches)):
        if not isinstance(given, Mapping):
            example = f"{{{graph.names[0]!r}: ...}}"
            raise GraphError(f"{kind} must be a dict by problem name, such as {example}, got {type(given).__name__}")
        for name in given:
            if name not in graph.names:
                raise GraphError(f"{kind}: no problem is called {name!r}; the problems are {', '.join(graph.names)}")
    params: dict[str, Params] = {}
    buffers: dict[str, Params] = {}
    for problem in graph.problems:
        kind_of = problem.kind
        given_value = values.get(problem.name)
        if given_value is None:
            params[problem.name], buffers[problem.name] = kind_of.initial(), kind_of.buffers()
        else:
            params[problem.name], buffers[problem.name] = kind_of.parse(problem.name, given_value)
    params = {name: same(ranks, value) for name, value in params.items()}
    buffers = {name: same(ranks, value) for name, value in buffers.items()}
    states = {p.name: p.rule.init(params[p.name]) for p in graph.problems if p.rule is not None}
    drawn = _drawn(graph, batches, ranks)
    return Context(graph, params, params, states, buffers, drawn.batches, ranks=ranks, factors=drawn.factors)


def _drawn(graph: ProblemGraph, batches: Mapping[str, Any], ranks: AbstractRanks) -> Drawn:
    """Return a batch for each problem: the one given, else its first."""
    missing: Any = ENDED if ranks.replicas > 1 else None
    found = {p.name: batches[p.name] if p.name in batches else peek(p, missing) for p in graph.problems}
    if ranks.replicas == 1:
        return Drawn(found)
    drawn, ended = share(graph, found, ranks, {})
    for name in ended:
        Feed(name, graph[name].batches).fail()
    return drawn


def peek(problem: Problem, missing: Any = None) -> Any:
    """Return a problem's first batch without moving its place in its batches.

    Args:
        problem: The problem.
        missing: What to return if its batches are empty; None to raise.

    Raises:
        DataError: If there is no batch, or looking would use it up.
    """
    if problem.batches is None:
        return None
    if isinstance(problem.batches, Iterator):
        cure = f"give batches={{{problem.name!r}: ...}}, or declare a list or a DataLoader"
        raise DataError(f"problem {problem.name!r}: its batches can be read only once, so none is taken: {cure}")
    with _place_kept(problem.batches):
        for batch in problem.batches:
            return batch
    if missing is not None:
        return missing
    raise DataError(f"problem {problem.name!r}: its batches are empty")


@contextmanager
def _place_kept(batches: Iterable[Any]) -> Iterator[None]:
    """Put back what `iter(batches)` moves: a state that it can save, or the generators that a DataLoader has."""
    start = PassStart.of(batches)
    try:
        yield
    finally:
        start.put_back_own(batches)


def checked_gradient(context: Context, of: str, solved: Solved) -> Params:
    """Return the derivative of `of`, or raise naming what is not finite or not there."""
    look = Look()
    gradient = watched_gradient(context, of, solved, look)
    context.tally.confide(look)
    look.take()
    return gradient


def watched_gradient(context: Context, of: str, solved: Solved, look: Look) -> Params:
    """Return the derivative of `of`, or raise naming what is not there; `look` will, for what is not finite."""
    for name, trace in solved.traces.items():
        watch(name, trace, look)
    look.finite(solved.seen.loss, lambda: blame_loss(of, solved))
    found = solved.seen.parts.get(of)
    rules = [context.graph[name].response for name in solved.traces]
    if found is None and all(rule.transmits for rule in rules):
        cause = "neither directly nor through an answer: check its reads, and theirs, and look for .detach() or .item()"
        if context.partial:
            cause += "; or partial=True leaves out the only way that leads there: leave it at False"
        raise LossError(f"the objective of problem {of!r} does not depend on {of!r}, {cause}")
    gradient = zeros_like(context.values[of]) if found is None else found
    look.finite(norm(gradient), lambda: blame_gradient(of, gradient, solved))
    return gradient
