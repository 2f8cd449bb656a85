"""The only place that holds state: the values of all problems, trained step by step."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from mlo.checks import check_count
from mlo.clip_parts import ClipParts, checked_clip
from mlo.context import Context, Tally
from mlo.errors import GraphError, MLOError, UnconvergedWarning
from mlo.gradient import checked_graph, recording, same, watched_gradient
from mlo.graph import ProblemGraph
from mlo.hypergradient.base import Trace
from mlo.linear.base import LinearSolution
from mlo.look import Look
from mlo.outline import outline
from mlo.parallel import AbstractRanks, present_ranks
from mlo.problem import Problem
from mlo.report import Report, fetched, last_seen
from mlo.snapshot import Resumable
from mlo.solve import ProblemNode, settle, total_gradient
from mlo.supply import Supply
from mlo.update import detach_state
from mlo.vector import Params, detach, norm


class Engine(Resumable):
    """Trains a problem graph.

    One step: every problem gets a batch; the problems that respond to the outermost one are solved; the outermost is
    updated by its hypergradient. What becomes of the answers is the one choice:

    - `look_ahead=False` (warm start): the answers are kept, and the next solves start from them.
    - `look_ahead=True`: the answers were virtual. They are dropped, and the deeper problems are then solved for real,
      with the new outer value, on the same batches. Algorithm 1 of DARTS is this.

    A step that fails changes nothing: values, optimizer states and buffers stay those of the last good step. Only the
    batches that it drew, and the random numbers, are used up.

    A linear solve starts from its solution in the step before (`warm_start` of the rules). One that does not converge
    is warned of the first, the 10th, the 100th time, ... for its problem; every report has its residual.

    Args:
        graph: The problems; the outermost one needs an update.
        look_ahead: See above.
        partial: As for `mlo.hypergradient`.
        parallel: The ranks of torch.distributed that share the work: `mlo.Parallel(...)`, or `mlo.Alone()` for none.
            None for all that there are, each with a share of the batches. All start from the values of the first rank.
        clip: Limits on the two parts of the hypergradient, `mlo.ClipParts(...)`; None for none.

    Raises:
        ConfigError: If `clip` is something else.
        GraphError: If the outermost problem cannot be trained.
    """

    def __init__(
        self,
        graph: ProblemGraph,
        *,
        look_ahead: bool = False,
        partial: bool = False,
        parallel: AbstractRanks | None = None,
        clip: ClipParts | None = None,
    ) -> None:
        """Copy the initial values of all problems."""
        self.graph, self.look_ahead, self.partial = checked_graph("Engine", graph), look_ahead, partial
        self.step_count, self.parallel, self.clip = 0, present_ranks(parallel), checked_clip(clip)
        self._top = _trainable_top(graph)
        rules = {p.name: p.rule for p in graph.problems if p.rule is not None}
        with recording(), self.parallel.guarded(lambda: ["Engine", f"{look_ahead=} {partial=}", *outline(graph)]):
            self._params = {p.name: same(self.parallel, p.kind.initial()) for p in graph.problems}
            self._buffers = {p.name: same(self.parallel, p.kind.buffers()) for p in graph.problems}
            self._states = {name: rule.init(self._params[name]) for name, rule in rules.items()}
        self._adjoints: dict[str, Tensor] = {}
        self._unconverged: dict[tuple[str, str], int] = {}
        self._supply = Supply(graph, self.parallel)

    @property
    def values(self) -> dict[str, Any]:
        """Copies of each problem's present value: a tensor, or a dict of tensors (of a module: its parameters)."""
        return {p.name: p.kind.structure(self._params[p.name]) for p in self.graph.problems}

    def export(self, name: str) -> Any:
        """Return an independent copy of a problem's variable with its present value: for a module, a module."""
        return self.graph[name].kind.export(self._params[name], self._buffers[name])

    def run(self, steps: int, *, frozen: bool = False) -> Iterator[Report]:
        """Make `steps` outer steps, yielding a report after each; a step is made when its report is asked for.

        Args:
            steps: How many.
            frozen: As for `step`.

        Raises:
            ConfigError: If `steps` is not a whole number >= 0.
        """
        check_count("Engine.run", "steps", steps, least=0)
        return (self.step(frozen=frozen) for _ in range(steps))

    def step(self, *, frozen: bool = False) -> Report:
        """Make one outer step.

        Args:
            frozen: Leave the outermost problem as it is, its optimizer and its batches included: the deeper problems
                are trained, no hypergradient is taken, and the report has no loss of the outermost. For a warm-up.

        Raises:
            DataError: If a problem's batches are empty or used up.
            LossError: If a loss is not a scalar.
            DivergenceError: If a loss, an answer or the hypergradient is not finite.
        """
        tally, look = Tally(), Look()
        try:
            announced = self.parallel.guarded(lambda: [f"Engine.step {self.step_count} {frozen=}"])
            with announced, recording(), tally.explaining(), look.first():
                return self._frozen_step(tally, look) if frozen else self._step(tally, look)
        except MLOError as error:
            error.add_note(f"in outer step {self.step_count + 1} of the engine")
            raise

    def _warn(self, tally: Tally) -> None:
        """Warn at the 1st, the 10th, ... time; before anything is kept, for a warning may be an error to the user."""
        for key, message in tally.complaints().items():
            times = self._unconverged[key] = self._unconverged.get(key, 0) + 1
            if times == 10 ** (len(str(times)) - 1):
                seen = f" (in {times} of {self.step_count + 1} outer steps)"
                warnings.warn(message + seen, UnconvergedWarning, stacklevel=_levels_to_the_caller())

    def _step(self, tally: Tally, look: Look) -> Report:
        context, traces = settle(self._context(tally), self.graph.solved_before(self._top.name), look)
        solved = total_gradient(context, self._top.name, (self._top.name,))
        gradient = watched_gradient(context, self._top.name, solved, look)
        sizes: list[Tensor] = []
        if self.clip is not None:
            gradient, sizes = self.clip.apply(solved.direct, solved.response, gradient)
        top = self._moved(context, gradient)
        traces |= self._retrained(context, top[0], look) if self.look_ahead else solved.traces
        seen = {self._top.name: (solved.seen.loss, norm(gradient))} | last_seen(traces)
        losses, norms, parts = fetched(seen, tally, look, sizes)
        self._warn(tally)
        self._params[self._top.name], self._states[self._top.name] = top
        self._buffers[self._top.name] = solved.seen.buffers
        self._commit(traces)
        self._adjoints |= {name: solution.value for name, solution in solved.solutions.items()}
        report = self._report(losses, norms, traces, solved.solutions, tally)
        return replace(report, parts=(parts[0], parts[1])) if parts else report

    def _frozen_step(self, tally: Tally, look: Look) -> Report:
        context = self._context(tally, but=self._top.name)
        below = (*self.graph.solved_before(self._top.name), *self.graph.responders(self._top.name))
        _, traces = settle(context, below, look)
        losses, norms, _ = fetched(last_seen(traces), tally, look)
        self._warn(tally)
        self._commit(traces)
        return self._report(losses, norms, traces, {}, tally)

    def _context(self, tally: Tally, *, but: str | None = None) -> Context:
        """Return the present state, with a batch for each problem; `but` one, which takes no part."""
        drawn, values = self._supply.draw(but=but), dict(self._params)
        return Context(
            self.graph,
            values,
            values,
            dict(self._states),
            dict(self._buffers),
            drawn.batches,
            self.partial,
            dict(self._adjoints),
            self.parallel,
            drawn.factors,
            tally,
        )

    def _moved(self, context: Context, gradient: Params) -> tuple[Params, Any]:
        node = ProblemNode(context, self._top.name)
        others = {name: detach(context.values[name]) for name in node.update_reads}
        params, state = node.advance(context.values[node.name], gradient, context.states[node.name], others)
        return detach(params), detach_state(state)

    def _retrained(self, context: Context, top: Params, look: Look) -> dict[str, Trace]:
        """Solve the responding problems for real, from where they stood, at the new outer value."""
        _, traces = settle(context.with_values({self._top.name: top}), self.graph.responders(self._top.name), look)
        return traces

    def _commit(self, traces: Mapping[str, Trace]) -> None:
        for name, trace in traces.items():
            self._params[name], self._buffers[name] = detach(trace.end.params), trace.end.buffers
            if name in self._states:
                self._states[name] = trace.end.state
        self.step_count += 1

    def _report(
        self,
        losses: dict[str, float],
        norms: dict[str, float],
        traces: Mapping[str, Trace],
        solutions: dict[str, LinearSolution],
        tally: Tally,
    ) -> Report:
        steps = {name: trace.steps for name, trace in traces.items()}
        return Report(self.step_count, losses, norms, solutions, steps, tally.gradients, tally.products)


def _levels_to_the_caller() -> int:
    """Return how far above the function that calls this one the nearest line outside of this file is."""
    frame, levels = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame, levels = frame.f_back, levels + 1
    return levels


def _trainable_top(graph: ProblemGraph) -> Problem:
    top = graph.problems[0]
    for problem in graph.problems[1:]:
        if problem.rule is not None and problem.steps == 0:
            cure = "give it steps >= 1, or update=None if its value is to stay"
            raise GraphError(f"problem {problem.name!r} has an update but steps=0 and would never be trained: {cure}")
    if top.rule is None:
        raise GraphError(f"the outermost problem {top.name!r} has no update: give it one, such as torchopt.adam(1e-2)")
    if top.steps != 1:
        cure = "it makes one update in each engine step, so leave steps at 1 and run more of them"
        raise GraphError(f"the outermost problem {top.name!r} has steps={top.steps}: {cure}")
    graph.solved_before(top.name)  # raises for a problem without an update
    return top
