"""The heart: `total_gradient` solves what responds to a problem, then sweeps back over it, once for each problem.

Solving a problem takes its total gradients; a total gradient solves what is inside. The two recurse into each other
down the levels, and neither has side effects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from mlo.ahead import Ahead, Ledger, taken_ahead
from mlo.autodiff import cut, named_vjp
from mlo.context import Context
from mlo.errors import GraphError, MLOError
from mlo.evaluate import loss_gradient
from mlo.hypergradient.base import Evaluation, Linearization, Node, Point, Trace
from mlo.hypergradient.promises import pulled, responded
from mlo.hypergradient.run import run, watch
from mlo.linear.base import LinearSolution
from mlo.look import Look
from mlo.rng import RandomState, replayed
from mlo.solved import Solved
from mlo.update import State
from mlo.vector import Params, Values, add, norm


class ProblemNode(Node):
    """A problem of a graph in a context, as response rules see it."""

    def __init__(
        self,
        context: Context,
        name: str,
        *,
        inside: Sequence[str] | None = None,
        random: RandomState | None = None,
        ahead: Linearization | None = None,
    ) -> None:
        """Place problem `name` in `context`.

        Args:
            context: Where.
            name: The problem.
            inside: The answers that move with it; None for all of them.
            random: Where every gradient draws from; None for the generators as they are.
            ahead: Its gradient where a solve starts, if that was taken before.
        """
        self.context, self.name, self._random, self.ahead = context, name, random, ahead
        self.problem = context.graph[name]
        self.steps = 0 if self.problem.rule is None else self.problem.steps
        self.tolerance = self.problem.tolerance
        self.inputs, self.loss_reads = context.graph.inputs(name), tuple(self.problem.reads)
        self._inside = context.graph.inside(name) if inside is None else tuple(inside)

    def start(self, others: Values | None = None) -> Point:
        """Return the stored value, or what is handed over in its place, with optimizer state and buffers."""
        context, start = self.context, self.problem.start
        params = context.stored[self.name]
        if start is not None:
            known = context.stored if start.stored else context.values if others is None else others
            params = start.begin(params, known[start.source])
        return Point(params, context.states.get(self.name), context.buffers[self.name])

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
        context = self._at(point, others)
        with nullcontext() if self._random is None else replayed(self._random):
            return total_gradient(
                context, self.name, wrt, differentiable=differentiable, stationary=stationary, inside=self._inside
            ).seen

    def _at(self, point: Point, others: Values) -> Context:
        context = self.context.with_values({**others, self.name: point.params})
        # Adjoints are remembered for the outermost sweep alone.
        return replace(context, buffers={**context.buffers, self.name: point.buffers}, adjoints=None)

    def advance(self, params: Params, gradient: Params, state: State, others: Values) -> tuple[Params, State]:
        """Apply the problem's update rule."""
        rule = self.problem.rule
        if rule is None:
            raise GraphError(f"problem {self.name!r} has no update: give it one, or use mlo.Implicit()")
        stored = {name: self.context.stored[name] for name in rule.remembers}
        return rule.apply(params, gradient, state, {**stored, **others})

    def slope(self, params: Params, gradient: Params, others: Values) -> Tensor:
        """Return the norm of the gradient of loss and penalty."""
        rule = self.problem.rule
        if rule is None:
            return norm(gradient)
        stored = {name: self.context.stored[name] for name in rule.remembers}
        with torch.enable_grad():
            leaves = cut(params, differentiable=False)
            penalty = rule.penalty(leaves, {**stored, **others})
            extra = {} if penalty is None else named_vjp([penalty], {self.name: leaves}, [torch.ones_like(penalty)])
        return norm(add(extra.get(self.name), gradient))

    def partial(self, point: Point, others: Values) -> tuple[Evaluation, Node] | None:
        """Return the total gradient at `point`, and this problem with all answers inside held as they are there."""
        if not (self.context.partial and self._inside):
            return None
        context = self._at(point, others)
        solved = total_gradient(context, self.name, (self.name,), inside=self._inside)
        for name, trace in solved.traces.items():
            context = context.after(name, trace)
        return solved.seen, ProblemNode(context, self.name, inside=(), random=solved.random)

    @property
    def problems_inside(self) -> tuple[str, ...]:
        """Names of the problems that are solved anew wherever this one's gradient is taken."""
        return self._inside

    @property
    def adjoint(self) -> Tensor | None:
        """Return the linear solution of the outer step before."""
        return None if self.context.adjoints is None else self.context.adjoints.get(self.name)

    @property
    def remembers(self) -> bool:
        """Return whether linear solutions are kept."""
        return self.context.adjoints is not None

    def multiplied(self) -> None:
        """Add one to the tally."""
        self.context.tally.products += 1

    def doubt(self, wrong: Tensor, explain: Callable[[], MLOError]) -> None:
        """Add it to the tally."""
        self.context.tally.doubts.append((wrong, explain))

    def note(self, solution: LinearSolution) -> None:
        """Keep the worst linear solve of this problem."""
        self.context.tally.note(self.name, solution)

    def note_restless(self, slope: float) -> None:
        """Keep the largest slope of this problem."""
        self.context.tally.note_restless(self.name, slope)

    @property
    def update_reads(self) -> tuple[str, ...]:
        """Return what the update rule reads."""
        return () if self.problem.rule is None else self.problem.rule.reads

    @property
    def update_remembers(self) -> tuple[str, ...]:
        """Return what the update rule holds as a constant."""
        return () if self.problem.rule is None else self.problem.rule.remembers

    @property
    def start_reads(self) -> tuple[str, ...]:
        """Return the problem that hands over its answer."""
        return () if self.problem.start is None else self.problem.start.reads

    @property
    def start_remembers(self) -> tuple[str, ...]:
        """Return the problem that hands over its stored value."""
        return () if self.problem.start is None else self.problem.start.remembers

    @property
    def differences(self) -> int:
        """Return the most finite differences that are nested in the pullbacks through one responder."""
        return self.context.graph.nested_differences(self.name)


def solve(
    context: Context, name: str, *, differentiable: bool = False, ahead: Linearization | None = None
) -> tuple[ProblemNode, Trace]:
    """Solve problem `name` in `context` by its own response rule."""
    node = ProblemNode(context, name, ahead=ahead)
    return node, responded(node.problem.response, node, differentiable=differentiable)


def settle(context: Context, names: Sequence[str], look: Look) -> tuple[Context, dict[str, Trace]]:
    """Run problems one after another, each seeing the answers before it; nothing of it is differentiated.

    Args:
        context: Where.
        names: The problems.
        look: Will raise `DivergenceError` if a loss or an answer is not finite.
    """
    traces: dict[str, Trace] = {}
    ahead, _ = _ahead(context, names, products=False)
    for name in names:
        traces[name] = run(ProblemNode(context, name, ahead=ahead.get(name)))
        watch(name, traces[name], look)
        context = context.after(name, traces[name])
    return context, traces


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
    responders = context.graph.responders(name) if inside is None else inside
    ahead, ledger = _ahead(context, () if differentiable else responders, products=True)
    for responder in responders:
        node, trace = solve(context, responder, differentiable=differentiable, ahead=ahead.get(responder))
        nodes.append((node, trace))
        context = context.after(responder, trace)
    useful = context.graph.useful(responders, wrt)
    random = RandomState.capture() if context.partial else None
    seen = loss_gradient(context, name, useful, differentiable=differentiable, stationary=stationary)
    table, solutions = dict(seen.parts), {}
    direct = table.pop(name, None)
    for node, trace in reversed(nodes):
        ledger.settle(table, node.name, trace.answer)
        cotangent = table.pop(node.name, None)
        if cotangent is None:
            continue
        wanted = [other for other in node.inputs if other in useful]
        back = pulled(node.problem.response, node, trace, cotangent, wanted, differentiable=differentiable)
        context.tally.pullbacks += 1
        for other, part in back.parts.items():
            table[other] = add(table.get(other), part)
        if back.solution is not None:
            solutions[node.name] = back.solution
    for other in wrt:
        ledger.settle(table, other, context.values[other])
    response = table.get(name)
    if direct is not None:
        table[name] = add(response, direct)
    traces = {node.name: trace for node, trace in nodes}
    return Solved(replace(seen, parts=table), traces, solutions, random, direct, response)


def _ahead(context: Context, names: Sequence[str], *, products: bool) -> tuple[dict[str, Ahead], Ledger]:
    """Take first gradients ahead where members share them."""
    ledger = Ledger(context.ranks)
    if context.ranks.members == 1:
        return {}, ledger
    apart = replace(context, ranks=context.ranks.apart())
    nodes = [ProblemNode(apart, name) for name in names]
    alone = [(node, node.problem.response) for node in nodes if not node.problems_inside]
    return taken_ahead(alone, set(names), ledger, products=products), ledger
