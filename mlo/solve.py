"""The heart: `total_gradient` solves what responds to a problem, then sweeps back over it, once for each problem.

Solving a problem takes its total gradients; a total gradient solves what is inside. The two recurse into each other
down the levels, and neither has side effects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mlo.autodiff import cut, named_vjp
from mlo.errors import GraphError, LossError
from mlo.graph import ProblemGraph
from mlo.hypergradient.base import Evaluation, Node, Point, Trace
from mlo.linear.base import LinearSolution
from mlo.update import State
from mlo.vector import Params, Values, add
from mlo.view import View


@dataclass
class Tally:
    """Counts of the work done: plain gradients of one loss, and pullbacks through one problem's answer."""

    gradients: int = 0
    pullbacks: int = 0


@dataclass(frozen=True)
class Context:
    """Everything that is fixed while a gradient is taken.

    Attributes:
        graph: The problems.
        values: The present value of each problem: given, or answered by a solve further up.
        stored: The values before anything was solved.
        states: Optimizer states; a problem without one starts afresh.
        buffers: Module buffers.
        batches: One batch for each problem.
        tally: Counts the work; shared by all contexts made from this one.
    """

    graph: ProblemGraph
    values: Values
    stored: Values
    states: Mapping[str, State]
    buffers: Mapping[str, Params]
    batches: Mapping[str, Any]
    tally: Tally = field(default_factory=Tally)

    def with_values(self, values: Values) -> Context:
        """Return the context in which some problems have other values."""
        return replace(self, values={**self.values, **values})


class ProblemNode(Node):
    """A problem of a graph in a context, as response rules see it."""

    def __init__(self, context: Context, name: str) -> None:
        """Place problem `name` in `context`."""
        self.context, self.name = context, name
        self.problem = context.graph[name]
        self.steps = 0 if self.problem.rule is None else self.problem.steps
        self.inputs = context.graph.inputs(name)

    def start(self) -> Point:
        """Return the stored value, with its optimizer state and buffers."""
        params, rule = self.context.stored[self.name], self.problem.rule
        if self.name in self.context.states:
            state = self.context.states[self.name]
        else:
            state = None if rule is None else rule.init(params)
        return Point(params, state, self.context.buffers[self.name])

    def read(self) -> Values:
        """Return the present values of the inputs."""
        return {name: self.context.values[name] for name in self.inputs}

    def gradient(
        self,
        point: Point,
        others: Values,
        wrt: Sequence[str],
        *,
        differentiable: bool = False,
        stationary: bool = False,
    ) -> Evaluation:
        """Return the total gradient of the problem's objective."""
        buffers = {**self.context.buffers, self.name: point.buffers}
        context = replace(self.context.with_values({**others, self.name: point.params}), buffers=buffers)
        inside = context.graph.inside(self.name)
        return total_gradient(
            context, self.name, wrt, differentiable=differentiable, stationary=stationary, inside=inside
        ).seen

    def advance(self, params: Params, gradient: Params, state: State, others: Values) -> tuple[Params, State]:
        """Apply the problem's update rule."""
        rule = self.problem.rule
        if rule is None:
            raise GraphError(f"problem {self.name!r} has no update")
        stored = {name: self.context.stored[name] for name in rule.remembers}
        return rule.apply(params, gradient, state, {**stored, **others})

    @property
    def update_reads(self) -> tuple[str, ...]:
        """Return what the update rule reads."""
        return () if self.problem.rule is None else self.problem.rule.reads

    @property
    def differences(self) -> int:
        """Return the most finite differences that are nested in the pullbacks through one responder."""
        graph, nested = self.context.graph, dict.fromkeys(self.context.graph.names, 0)
        for name in reversed(graph.names):
            inner = [graph[q].response.differences(nested[q]) for q in graph.inside(name)]
            nested[name] = max(inner, default=0)
        return nested[self.name]


@dataclass(frozen=True)
class Solved:
    """A total gradient, with the solves that it took: traces in solving order, and linear solves by problem."""

    seen: Evaluation
    traces: dict[str, Trace]
    solutions: dict[str, LinearSolution]


def solve(context: Context, name: str, *, differentiable: bool = False) -> tuple[ProblemNode, Trace]:
    """Solve problem `name` in `context` by its own response rule."""
    node = ProblemNode(context, name)
    return node, node.problem.response.respond(node, differentiable=differentiable)


def objective(context: Context, name: str) -> Tensor:
    """Return a problem's loss at solved answers, as autograd sees it: the reference for what `total_gradient` sweeps.

    The result carries its history from every value in `context` that requires a gradient, through all solves.
    """
    with torch.enable_grad():
        for responder in context.graph.inside(name):
            _, trace = solve(context, responder, differentiable=True)
            context = with_answer(context, responder, trace)
        buffers = {key: value.clone() for key, value in context.buffers[name].items()}
        present = {other: context.values[other] for other in (name, *context.graph[name].dependencies)}
        return _call_loss(context, name, present, buffers)


def total_gradient(
    context: Context,
    name: str,
    wrt: Sequence[str],
    *,
    differentiable: bool = False,
    stationary: bool = False,
    inside: Sequence[str] | None = None,
) -> Solved:
    """Return the total derivative of one problem's objective, answers of deeper problems included.

    Args:
        context: Where; holds the value of `name` and of all its inputs.
        name: The problem whose objective is differentiated.
        wrt: Names to differentiate with respect to: the problem itself, or any of its inputs.
        differentiable: Whether the result is itself differentiable.
        stationary: Add the penalty of the problem's update rule to its loss.
        inside: The responders to solve, in order; None for all, those included that play no part in the objective.
    """
    nodes: list[tuple[ProblemNode, Trace]] = []
    for responder in context.graph.responders(name) if inside is None else inside:
        node, trace = solve(context, responder, differentiable=differentiable)
        nodes.append((node, trace))
        context = with_answer(context, responder, trace)
    useful = _useful(nodes, wrt)
    seen = _own_gradient(context, name, useful, differentiable=differentiable, stationary=stationary)
    table, solutions = dict(seen.parts), {}
    for node, trace in reversed(nodes):
        cotangent = table.pop(node.name, None)
        if cotangent is None:
            continue
        wanted = [other for other in node.inputs if other in useful]
        back = node.problem.response.pullback(node, trace, cotangent, wanted, differentiable=differentiable)
        context.tally.pullbacks += 1
        for other, part in back.parts.items():
            table[other] = add(table.get(other), part)
        if back.solution is not None:
            solutions[node.name] = back.solution
    return Solved(replace(seen, parts=table), {node.name: trace for node, trace in nodes}, solutions)


def with_answer(context: Context, name: str, trace: Trace) -> Context:
    """Return the context after a problem was solved: its answer, and its buffers as the solve left them."""
    buffers = {**context.buffers, name: trace.end.buffers}
    return replace(context.with_values({name: trace.answer}), buffers=buffers)


def _useful(nodes: Sequence[tuple[ProblemNode, Trace]], wrt: Sequence[str]) -> set[str]:
    """Return the names on which a cotangent leads to something in `wrt`."""
    useful = set(wrt)
    for node, _ in nodes:
        if node.problem.response.transmits and useful.intersection(node.inputs):
            useful.add(node.name)
    return useful


def _own_gradient(
    context: Context, name: str, wrt: set[str], *, differentiable: bool, stationary: bool
) -> Evaluation:
    """Differentiate one loss with respect to what it sees directly."""
    problem = context.graph[name]
    buffers = {key: value.clone() for key, value in context.buffers[name].items()}
    with torch.enable_grad():
        present = {other: context.values[other] for other in (name, *problem.dependencies)}
        leaves = {o: cut(v, differentiable=differentiable) for o, v in present.items() if o in wrt}
        present |= leaves
        loss = _call_loss(context, name, present, buffers)
        if stationary and problem.rule is not None:
            stored = {other: context.stored[other] for other in problem.rule.remembers}
            penalty = problem.rule.penalty(present[name], {**stored, **present})
            loss = loss if penalty is None else loss + penalty
    context.tally.gradients += 1
    parts = named_vjp([loss], leaves, [torch.ones_like(loss)], differentiable=differentiable)
    return Evaluation(loss.detach(), parts, buffers)


def _call_loss(context: Context, name: str, present: Values, buffers: Params) -> Tensor:
    """Show a loss what it may see, and check what it returns."""
    graph, problem = context.graph, context.graph[name]
    shown = {}
    for other in (name, *problem.reads):
        # Reading a module must not change its buffers: they belong to the problem that trains it.
        own = buffers if other == name else {key: value.clone() for key, value in context.buffers[other].items()}
        shown[other] = graph[other].kind.present(present[other], own)
    versions = _versions(present)
    loss = problem.loss(View(name, shown), context.batches.get(name))
    for other, version in _versions(present).items():
        if version != versions[other]:
            what = f"the loss of problem {name!r} changed {other!r} in place"
            raise LossError(f"{what}: make a copy first, e.g. v.{other}.clone()")
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise LossError(f"the loss of problem {name!r} must return a scalar tensor, got {got}: reduce it, e.g. .mean()")
    return loss


def _versions(values: Values) -> dict[str, int]:
    """Return a number for each problem that grows whenever one of its tensors is changed in place."""
    return {name: sum(value._version for value in params.values()) for name, params in values.items()}
