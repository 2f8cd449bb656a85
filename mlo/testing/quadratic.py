"""Random quadratic problem graphs of any depth, and their solutions in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torchopt.base import GradientTransformation

from mlo.graph import ProblemGraph
from mlo.hypergradient import AbstractResponse, Unroll
from mlo.pieces import Loss
from mlo.problem import Problem
from mlo.update import State
from mlo.view import View


@dataclass(frozen=True)
class QuadraticGraph:
    """A problem graph and what is known of it.

    Attributes:
        graph: The problems "p0" (outermost), "p1", ...; every variable is a vector.
        of: "p0".
        hypergradient: The total derivative of the objective of `of` at its declared value.
        answers: The value of every other problem, solved.
    """

    graph: ProblemGraph
    of: str
    hypergradient: Tensor
    answers: dict[str, Tensor]


class _Forms:
    """The losses f_p(X) = X.Q_p X / 2, with X the stack of (1, p0, p1, ...), as matrices."""

    def __init__(self, reads: Sequence[Sequence[int]], dims: Sequence[int], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        starts = [1]
        for dim in dims:
            starts.append(starts[-1] + dim)
        self.slices = [slice(a, b) for a, b in pairwise(starts)]
        self.size = starts[-1]
        self.start = [torch.randn(dim, generator=generator, dtype=torch.float64) for dim in dims]
        self.forms = [self._draw(p, reads[p], generator) for p in range(len(dims))]

    def _draw(self, p: int, reads: Sequence[int], generator: torch.Generator) -> Tensor:
        """Draw a positive definite form over what problem p sees, so that all reduced objectives are convex."""
        seen = torch.zeros(self.size, dtype=torch.float64)
        seen[0] = 1.0
        for other in (p, *reads):
            seen[self.slices[other]] = 1.0
        root = torch.randn(self.size, self.size, generator=generator, dtype=torch.float64) / self.size**0.5
        form = root @ root.T + 0.5 * torch.eye(self.size, dtype=torch.float64)
        masked: Tensor = torch.outer(seen, seen) * form
        return masked


class _ClosedForm:
    """Answers as linear maps of X, found by eliminating one problem after another."""

    def __init__(self, forms: _Forms, graph: ProblemGraph) -> None:
        self._forms, self._graph = forms, graph
        self._index = {name: i for i, name in enumerate(graph.names)}
        self.hessians: dict[str, Tensor] = {}
        for name in reversed(graph.names):
            reduced = self.reduced(name)
            own = forms.slices[self._index[name]]
            self.hessians[name] = reduced[own, own]

    def answer(self, name: str) -> Tensor:
        """Return A (own size x size of X) with the answer = A X."""
        own, reduced = self._forms.slices[self._index[name]], self.reduced(name)
        rows = reduced[own].clone()
        rows[:, own] = 0.0
        solved: Tensor = torch.linalg.solve(reduced[own, own], rows)
        return -solved

    def substitution(self, names: Sequence[str]) -> Tensor:
        """Return S with S X = X in which the problems `names`, in solving order, have their answers."""
        total = torch.eye(self._forms.size, dtype=torch.float64)
        for name in names:
            step = torch.eye(self._forms.size, dtype=torch.float64)
            step[self._forms.slices[self._index[name]]] = self.answer(name)
            total = step @ total
        return total

    def reduced(self, name: str) -> Tensor:
        """Return the form of the objective of `name` with its responders answered."""
        s = self.substitution(self._graph.responders(name))
        return s.T @ self._forms.forms[self._index[name]] @ s


def quadratic_graph(
    reads: Sequence[Sequence[int]],
    *,
    dims: Sequence[int],
    rules: Sequence[AbstractResponse],
    seed: int,
    steps: int = 1,
) -> QuadraticGraph:
    """Make a random quadratic graph.

    Problem i minimizes a positive definite form over itself and what it reads. Its update is a Newton step on its
    reduced objective, so that one step solves it from anywhere: hypergradients by unrolling and by implicit
    differentiation then equal the closed form to rounding, at any depth, and cheaply.

    Args:
        reads: For each problem, outermost first, the numbers of the problems that its loss reads.
        dims: Size of each variable.
        rules: Response of each problem but the outermost.
        seed: Of forms and values.
        steps: Updates in each solve; more than one changes nothing in the answers.
    """
    forms = _Forms(reads, dims, seed)
    # The closed form needs only who reads whom, and the Newton steps need the closed form.
    shape = [_problem(i, reads[i], forms, Unroll(), _newton(torch.ones(1, 1)), 1) for i in range(len(dims))]
    closed = _ClosedForm(forms, ProblemGraph(shape))
    problems = []
    for i, _ in enumerate(dims):
        update = _newton(closed.hessians[f"p{i}"])
        problems.append(_problem(i, reads[i], forms, Unroll() if i == 0 else rules[i - 1], update, steps if i else 1))
    graph = ProblemGraph(problems)
    x = torch.cat([torch.ones(1, dtype=torch.float64), *forms.start])
    x = closed.substitution(graph.solved_before("p0")) @ x
    gradient = (closed.reduced("p0") @ x)[forms.slices[0]]
    x = closed.substitution(graph.responders("p0")) @ x
    answers = {f"p{i}": x[forms.slices[i]] for i in range(1, len(dims))}
    return QuadraticGraph(graph, "p0", gradient, answers)


def _problem(
    i: int, reads: Sequence[int], forms: _Forms, rule: AbstractResponse, update: GradientTransformation, steps: int
) -> Problem:
    names = [f"p{other}" for other in reads]
    loss = _loss(i, reads, forms)
    return Problem(f"p{i}", loss, forms.start[i], reads=names, update=update, steps=steps, response=rule)


def _loss(i: int, reads: Sequence[int], forms: _Forms) -> Loss:
    seen = [i, *reads]
    places = torch.cat([torch.zeros(1, dtype=torch.int64)] + [torch.arange(forms.size)[forms.slices[p]] for p in seen])
    form = forms.forms[i][places][:, places]

    def loss(view: View, batch: Any) -> Tensor:
        x = torch.cat([torch.ones(1, dtype=torch.float64), *(view[f"p{p}"] for p in seen)])
        return 0.5 * x @ form @ x

    return loss


def _newton(hessian: Tensor) -> GradientTransformation:
    """Return the update x <- x - H^-1 g as a torchopt transformation."""
    inverse = torch.linalg.inv(hessian)

    def update(updates: Any, state: State, *, params: Any = None, inplace: bool = True) -> tuple[Any, State]:
        return {key: -(inverse @ value) for key, value in updates.items()}, state

    return GradientTransformation(lambda params: (), update)
