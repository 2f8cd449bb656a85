"""One bilevel problem for all libraries: what each has to answer, the truth, and ours.

The problem is `deep` of `floor_problems.py`. In every row the lower problem makes its steps of SGD with momentum (five
for `unroll`, one for the rest), and the upper loss is differentiated where they end.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad

import mlo
from benchmarks import floor_by_hand as by_hand
from benchmarks.floor_problems import LR, Task
from benchmarks.floor_rows import RULES, deep, quiet
from benchmarks.floor_spaces import Flat

STEPS = {rule: steps for rule, (_, _, steps) in RULES.items()}
"""Steps of the lower problem, by row."""


@dataclass(frozen=True)
class Contender:
    """A library's answer to one row.

    Attributes:
        rule: The row, a key of `RULES`.
        label: How the library calls it.
        act: Computes; any number of times, though the first answer is the one that is compared.
        gradient: Turns what it returned into the hypergradient.
        outer_step: Whether it updates the variables, too, so that it is timed against a step of our engine.
    """

    rule: str
    label: str
    act: Callable[[], Any]
    gradient: Callable[[Any], Tensor]
    outer_step: bool = False


class Weights(nn.Module):
    """A list of tensors as a module."""

    def __init__(self, values: list[Tensor]) -> None:
        super().__init__()
        self.count = len(values)
        for index, value in enumerate(values):
            self.register_parameter(f"p{index}", nn.Parameter(value.clone()))

    def forward(self) -> list[Tensor]:
        return [getattr(self, f"p{index}") for index in range(self.count)]


def problem() -> Task:
    """Return the problem, in the default dtype."""
    return deep("full")


def ours(task: Task, rule: str, *, outer_step: bool) -> Callable[[], Any]:
    """Return what a contender is timed against."""
    _, response, steps = RULES[rule]
    graph = task.graph(response, steps=steps)
    act = quiet(mlo.Engine(graph).step) if outer_step else quiet(lambda: mlo.hypergradient(graph, of="x"))
    act()
    return act


def by_mlo(task: Task, rule: str) -> Tensor:
    """Return our hypergradient."""
    found: Tensor = ours(task, rule, outer_step=False)()
    return found


def truth(task: Task, rule: str) -> Tensor:
    """Return what a rule approximates, in the dtype of the task: the derivative through the steps, or the implicit one.

    By dense autograd through the steps; for the implicit rules by conjugate gradients down to rounding, which is
    checked.

    Raises:
        RuntimeError: If the linear system was not solved.
    """
    space = Flat(task.start)
    at = by_hand.start(task, space)
    if rule == "unroll":
        found: Tensor = by_hand.unroll(task, space, at)[0]
        return found
    end = by_hand.train(task, space, at)
    cotangent, _ = by_hand.look(task, space, end)
    where = at if rule == "difference" else end
    leaves, x = space.leaves(where.weights), at.upper.detach().requires_grad_()
    gradient = grad(task.fit(leaves, x), leaves, create_graph=True)

    def product(v: Tensor) -> Tensor:
        answer: Tensor = space.gather(grad(gradient, leaves, space.views(v), retain_graph=True))
        return answer

    adjoint = LR * cotangent if rule == "difference" else solved(product, cotangent)
    (mixed,) = grad(gradient, x, space.views(adjoint))
    return -mixed


def solved(product: Callable[[Tensor], Tensor], b: Tensor) -> Tensor:
    """Return H^-1 b, from five conjugate gradients at a time on what is left."""
    x, rest, space = torch.zeros_like(b), b, Flat([b])
    for _ in range(40):
        x = x + by_hand.conjugate(space, product, rest)
        rest = b - product(x)
        if float(rest.norm() / b.norm()) < 1e-13:
            return x
    raise RuntimeError(f"the truth was not found: relative residual {float(rest.norm() / b.norm()):.1e}")


def silent(act: Callable[[], Any]) -> Callable[[], Any]:
    """Leave out the warnings of libraries that were written for an older torch."""

    def acting() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return act()

    return acting
