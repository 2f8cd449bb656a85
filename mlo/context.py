"""One loss in its context: what is fixed while a gradient is taken, and the gradient of that loss alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mlo.autodiff import cut, named_vjp
from mlo.errors import LossError, MLOError
from mlo.flat import Flat
from mlo.graph import ProblemGraph
from mlo.hypergradient.adjoint import unconverged
from mlo.hypergradient.base import Evaluation
from mlo.hypergradient.rest import restless
from mlo.linear.base import LinearSolution
from mlo.look import Look
from mlo.reads import check_reads, check_second_derivatives, is_checked
from mlo.update import State
from mlo.vector import Params, Values, clone, detach, tensors
from mlo.view import View


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
    """

    gradients: int = 0
    products: int = 0
    pullbacks: int = 0
    unconverged: dict[str, LinearSolution] = field(default_factory=dict)
    doubts: list[tuple[Tensor, Callable[[], MLOError]]] = field(default_factory=list)
    restless: dict[str, float] = field(default_factory=dict)

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
    tally: Tally = field(default_factory=Tally)

    def with_values(self, values: Values) -> Context:
        """Return the context in which some problems have other values."""
        return replace(self, values={**self.values, **values})


class Writable:
    """Copies of a module's buffers for one evaluation, which may write to them or put others in their places.

    Attributes:
        pieces: The copies, by name.
    """

    def __init__(self, buffers: Params) -> None:
        """Copy the buffers."""
        self._copy = Flat.of(clone(buffers))
        # By `data`, each has a count of changes of its own: torch is not to take a change of one for one of another.
        self.pieces = {name: piece.data for name, piece in self._copy.pieces.items()}
        self._given = dict(self.pieces)

    def after(self) -> Params:
        """Return the buffers as they are now, without history."""
        if all(self.pieces[name] is given for name, given in self._given.items()):
            return self._copy
        return detach(self.pieces)


def loss_gradient(context: Context, name: str, wrt: set[str], *, differentiable: bool, stationary: bool) -> Evaluation:
    """Differentiate one loss with respect to what it sees directly."""
    problem = context.graph[name]
    buffers = Writable(context.buffers[name])
    with torch.enable_grad():
        present = {other: context.values[other] for other in (name, *problem.dependencies)}
        leaves = {o: cut(v, differentiable=differentiable) for o, v in present.items() if o in wrt}
        present |= leaves
        loss = call_loss(context, name, present, buffers)
        if differentiable:
            check_second_derivatives(problem, loss, present)
        if stationary and problem.rule is not None:
            stored = {other: context.stored[other] for other in problem.rule.remembers}
            penalty = problem.rule.penalty(present[name], {**stored, **present})
            loss = loss if penalty is None else loss + penalty
    context.tally.gradients += 1
    parts = named_vjp([loss], leaves, [torch.ones_like(loss)], differentiable=differentiable)
    return Evaluation(loss.detach(), parts, buffers.after())


def call_loss(context: Context, name: str, present: Values, buffers: Writable) -> Tensor:
    """Show a loss what it may see, and check what it returns."""
    graph, problem = context.graph, context.graph[name]
    shown = {}
    for other in (name, *problem.reads):
        # Reading a module must not change its buffers: they belong to the problem that trains it.
        own = buffers if other == name else Writable(context.buffers[other])
        shown[other] = graph[other].kind.present(present[other], own.pieces)
    versions = _versions(present)
    used: set[str] | None = None if is_checked(problem) else set()
    try:
        loss = problem.loss(View(name, shown, used=used), context.batches.get(name))
    except RuntimeError as error:
        _check_unchanged(name, present, versions)  # torch may refuse what was written to, without saying whose it is
        error.add_note(f"raised in the loss of problem {name!r}")
        raise
    _check_unchanged(name, present, versions)
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise LossError(f"the loss of problem {name!r} must return a scalar tensor, got {got}: reduce it, e.g. .mean()")
    if used is not None:
        check_reads(graph, problem, used, loss, present)
    return loss


def _check_unchanged(name: str, present: Values, versions: Mapping[str, int]) -> None:
    """Raise if the loss of problem `name` wrote into what it was shown."""
    for other, version in _versions(present).items():
        if version != versions[other]:
            what = f"the loss of problem {name!r} changed {other!r} in place"
            raise LossError(f"{what}: make a copy first, e.g. v.{other}.clone()")


def _versions(values: Values) -> dict[str, int]:
    """Return a number for each problem that grows whenever one of its tensors is changed in place."""
    return {name: sum(value._version for value in tensors(params)) for name, params in values.items()}
