"""What is fixed while a gradient is taken, and the count of the work done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor

from mlo.checks import checked_flag
from mlo.errors import DivergenceError, MLOError
from mlo.graph import ProblemGraph
from mlo.hypergradient.adjoint import unconverged
from mlo.hypergradient.base import Trace
from mlo.hypergradient.rest import restless
from mlo.linear.base import LinearSolution
from mlo.look import Look
from mlo.parallel import AbstractRanks, Alone
from mlo.update import State
from mlo.vector import Params, Values


@dataclass
class Tally:
    """Counts of the work done.

    Attributes:
        gradients: Plain gradients of one loss.
        products: Second-order products by double backward; those by finite differences count as gradients.
        pullbacks: Pullbacks through one problem's answer.
        restless: For each problem whose rule needs rest, the largest norm of the gradient at the end of a solve that
            did not reach its tolerance.
        unconverged: For each problem, the linear solve with the largest residual among those that did not converge.
        doubts: Flags on the device, and what to raise if one turns out to be true; looked at together, at the end.
        overflows: Flags on the device that are true where a gradient, or a product, of a loss was not finite though all
            was before; with the name of its problem and the scale. Looked at only to explain an error.
        losses: The first and the last loss of each problem. Looked at only to explain an error.
        terms: For each loss that was taken piece by piece, the name of its problem, and of each piece the number of its
            term and its loss. Looked at only to explain an error.
    """

    gradients: int = 0
    products: int = 0
    pullbacks: int = 0
    unconverged: dict[str, LinearSolution] = field(default_factory=dict)
    doubts: list[tuple[Tensor, Callable[[], MLOError]]] = field(default_factory=list)
    restless: dict[str, float] = field(default_factory=dict)
    overflows: list[tuple[Tensor, str, float]] = field(default_factory=list)
    losses: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    terms: list[tuple[str, Sequence[int], Sequence[Tensor]]] = field(default_factory=list)

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Where the body meets a number that is not finite, tell whether it came out of a scaled gradient.

        Raises:
            DivergenceError: With the problem and the scale, in place of the one of the body.
        """
        try:
            yield
        except DivergenceError as error:
            for lost, name, scale in self.overflows:
                if bool(lost):
                    what = f"the gradient of problem {name!r} is not finite at the scale {scale:g}, though its loss is"
                    cure = f"give it a smaller scale, such as {scale / 16:g}, or bfloat16, or precision=None"
                    raise DivergenceError(what, cure, problem=name) from error
            raise

    def note(self, name: str, solution: LinearSolution) -> None:
        """Keep the worst linear solve of a problem."""
        worst = self.unconverged.get(name)
        if worst is None or solution.residual > worst.residual:
            self.unconverged[name] = solution

    def note_restless(self, name: str, slope: float) -> None:
        """Keep the largest slope of a problem."""
        self.restless[name] = max(slope, self.restless.get(name, 0.0))

    def confide(self, look: Look) -> None:
        """Let `look` raise the error of the first doubt that is justified."""
        for wrong, explain in self.doubts:
            look.flag(~wrong, partial(_raise, explain))

    def complaints(self) -> dict[tuple[str, str], str]:
        """Return what to warn of, by kind and problem."""
        found = {("rest", name): restless(name, slope) for name, slope in self.restless.items()}
        adjoint = {("adjoint", name): unconverged(name, solution) for name, solution in self.unconverged.items()}
        return found | adjoint


def _raise(explain: Callable[[], MLOError]) -> None:
    raise explain()


@dataclass(frozen=True)
class Context:
    """Everything that is fixed while a gradient is taken.

    Attributes:
        graph: The problems.
        values: The present value of each problem: given, or answered by a solve further up.
        stored: The values before anything was solved.
        states: The optimizer state of each problem that has an update.
        buffers: Module buffers.
        batches: One batch for each problem.
        partial: Whether derivatives of a problem inside another hold the answers below it fixed.
        adjoints: The solution of each problem's linear solve in the outer step before; None where nobody remembers.
        ranks: Who shares the work.
        factors: For each problem, what its loss is multiplied by on this rank, term by term: its share of the examples
            of all replicas, times their number; none for 1.
        tally: Counts the work; shared by all contexts made from this one.
    """

    graph: ProblemGraph
    values: Values
    stored: Values
    states: Mapping[str, State]
    buffers: Mapping[str, Params]
    batches: Mapping[str, Any]
    partial: bool = False
    adjoints: Mapping[str, Tensor] | None = None
    ranks: AbstractRanks = field(default_factory=Alone)
    factors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        """Check what the user chose."""
        checked_flag("hypergradient", "partial", self.partial)

    def with_values(self, values: Values) -> Context:
        """Return the context in which some problems have other values."""
        return replace(self, values={**self.values, **values})

    def after(self, name: str, trace: Trace) -> Context:
        """Return the context after a problem was solved: its answer, and its buffers as the solve left them."""
        buffers = {**self.buffers, name: trace.end.buffers}
        return replace(self.with_values({name: trace.answer}), buffers=buffers)
