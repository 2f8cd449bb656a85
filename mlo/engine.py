"""The only place that holds state: the values of all problems, trained step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from mlo.blame import watch_buffers, watch_kept, watch_state, watch_value
from mlo.cause import explained
from mlo.checks import check_count
from mlo.clip_parts import ClipParts, checked_clip
from mlo.context import Context, Tally
from mlo.divergence import AbstractOnDivergence, Attempts, Stop, checked_policy
from mlo.drift import watch_drift
from mlo.errors import DivergenceError, MLOError, RankError
from mlo.gradient import checked_graph, recording, same, watched_gradient
from mlo.graph import ProblemGraph
from mlo.hypergradient.base import Trace
from mlo.linear.base import LinearSolution
from mlo.look import Look
from mlo.outline import outline
from mlo.parallel import AbstractRanks, present_ranks
from mlo.report import Report, fetched, last_seen
from mlo.snapshot import Resumable
from mlo.solve import ProblemNode, settle, total_gradient
from mlo.supply import Supply, told_places
from mlo.top import trainable_top
from mlo.update import detach_state
from mlo.vector import Params, detach, norm
from mlo.warned import warn_unconverged


class Engine(Resumable):
    """Trains a problem graph.

    One step: every problem gets a batch; the problems that respond to the outermost one are solved; the outermost is
    updated by its hypergradient. What becomes of the answers is the one choice:

    - `look_ahead=False`: answers are kept, and the next solves start there, but for problems with `warm_start=False`.
    - `look_ahead=True`: the answers were virtual. They are dropped, and the deeper problems are then solved for real,
      with the new outer value, on the same batches. Algorithm 1 of DARTS is this.

    A step that fails changes nothing: values, optimizer states and buffers stay those of the last good step. Only the
    batches that it drew, and the random numbers, are used up. What becomes of it, `on_divergence` says.

    A linear solve starts from its solution in the step before (`warm_start` of the rules). One that does not converge
    is warned of the first, the 10th, the 100th time, ... for its problem; every report has its residual.

    Args:
        graph: The problems; the outermost one needs an update.
        look_ahead: See above.
        partial: As for `mlo.hypergradient`.
        parallel: The ranks of torch.distributed that share the work: `mlo.Parallel(...)`, or `mlo.Alone()` for none.
            None for all that there are, each with a share of the batches. All start from the values of the first rank.
        clip: Limits on the two parts of the hypergradient, `mlo.ClipParts(...)`; None for none.
        on_divergence: What to do with a step that met a number which is not finite: `mlo.Stop()` raises, and
            `mlo.Skip(in_a_row=3)` tries again with the next batches.

    Raises:
        ConfigError: If `clip` or `on_divergence` is something else.
        GraphError: If the outermost problem cannot be trained.

    Examples:
        >>> import mlo, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.w**2, torch.tensor(3.0), reads=["w"], update=torchopt.sgd(0.1))
        >>> w = mlo.Problem("w", lambda v, _: (v.w - v.x) ** 2, torch.zeros(()), reads=["x"], update=torchopt.sgd(0.5))
        >>> [round(report.losses["x"], 2) for report in mlo.Engine(mlo.ProblemGraph([x, w])).run(3)]
        [9.0, 5.76, 3.69]
    """

    def __init__(
        self,
        graph: ProblemGraph,
        *,
        look_ahead: bool = False,
        partial: bool = False,
        parallel: AbstractRanks | None = None,
        clip: ClipParts | None = None,
        on_divergence: AbstractOnDivergence = Stop(),
    ) -> None:
        """Copy the initial values of all problems."""
        self.graph, self.look_ahead, self.partial = checked_graph("Engine", graph), look_ahead, partial
        self.step_count, self.parallel, self.clip = 0, present_ranks(parallel), checked_clip(clip)
        self.on_divergence = checked_policy(on_divergence)
        self._top = trainable_top(graph, look_ahead=look_ahead)
        rules = {p.name: p.rule for p in graph.problems if p.rule is not None}
        settings = f"{look_ahead=} {partial=} {on_divergence=}"
        with recording(), self.parallel.guarded(lambda: ["Engine", settings, *outline(graph)]):
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
            DivergenceError: If a loss, an answer, the hypergradient or what is to be kept is not finite, or if an
                interleaving diverges: of the last attempt, if `on_divergence` skips some. A note tells step and batch.
            StabilityError: If the proximal step of an interleaving would diverge at the present step size.
        """
        attempts = Attempts(self.on_divergence, self.parallel)
        while True:
            attempts.agreed = False
            try:
                report = self._attempt(attempts, frozen=frozen)
            except Exception as error:
                if not attempts.another(error):
                    raise
            else:
                return replace(report, skipped=tuple(attempts.given_up)) if attempts.given_up else report

    def _attempt(self, attempts: Attempts, *, frozen: bool) -> Report:
        tally, look, culprit = Tally(), Look(), None
        try:
            number = len(attempts.given_up)
            with self.parallel.guarded(lambda: [f"Engine.step {self.step_count} {number} {frozen=}"]), recording():
                attempts.agreed = True
                context = self._context(tally, but=self._top.name if frozen else None)
                with explained(context), look.first():
                    return self._frozen_step(context, look) if frozen else self._step(context, look)
        except MLOError as error:
            culprit = error.problem if isinstance(error, DivergenceError) else None
            places = "" if isinstance(error, RankError) else self._places(culprit, frozen=frozen)
            error.add_note(f"in outer step {self.step_count + 1} of the engine{places}")
            raise

    def _places(self, culprit: str | None, *, frozen: bool) -> str:
        """Return which batches a step has: of the culprit first, and of those that it depends on."""
        return told_places(self.graph, self._supply.places(), culprit, but=self._top.name if frozen else None)

    def _step(self, start: Context, look: Look) -> Report:
        tally = start.tally
        context, traces = settle(start, self.graph.solved_before(self._top.name), look)
        solved = total_gradient(context, self._top.name, (self._top.name,))
        gradient = watched_gradient(context, self._top.name, solved, look)
        sizes: list[Tensor] = []
        if self.clip is not None:
            gradient, sizes = self.clip.apply(solved.direct, solved.response, gradient)
        top = self._moved(context, gradient)
        watch_value(self._top.name, top[0], look)
        watch_state(start, self._top.name, top[1], look)
        watch_buffers(start, self._top.name, solved.seen.buffers, look)
        traces |= self._retrained(context, top[0], look) if self.look_ahead else solved.traces
        self._watch(start, traces, look)
        seen = {self._top.name: (solved.seen.loss, norm(gradient))} | last_seen(traces)
        losses, norms, parts = fetched(seen, tally, look, sizes)
        warn_unconverged(tally, self._unconverged, self.step_count + 1)  # before anything is kept: it may be an error
        self._params[self._top.name], self._states[self._top.name] = top
        self._buffers[self._top.name] = solved.seen.buffers
        self._commit(traces)
        self._adjoints |= {name: solution.value for name, solution in solved.solutions.items()}
        report = self._report(losses, norms, traces, solved.solutions, tally)
        return replace(report, parts=(parts[0], parts[1])) if parts else report

    def _frozen_step(self, context: Context, look: Look) -> Report:
        tally = context.tally
        below = (*self.graph.solved_before(self._top.name), *self.graph.responders(self._top.name))
        _, traces = settle(context, below, look)
        self._watch(context, traces, look)
        losses, norms, _ = fetched(last_seen(traces), tally, look)
        warn_unconverged(tally, self._unconverged, self.step_count + 1)
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

    def _watch(self, start: Context, traces: Mapping[str, Trace], look: Look) -> None:
        """Let `look` raise if something that is to be kept is not finite, or is on the way there."""
        for name, trace in traces.items():
            watch_kept(start, name, trace, look)
        watch_drift(start, traces, look)

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
        for name, trace in ((name, trace) for name, trace in traces.items() if self.graph[name].warm_start):
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
