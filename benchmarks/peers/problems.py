"""The small problems that the rows are made of."""

from collections.abc import Callable
from typing import Any

import torch
import torchopt
from torch import Tensor, nn

import mlo
from benchmarks.peers.record import Value, numbers

Loss = Callable[[Any, Any], Tensor]


def scalar(value: float) -> Tensor:
    return torch.tensor(float(value), dtype=torch.float64)


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


class Number(nn.Module):
    """One number as a module."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.value = nn.Parameter(scalar(start))

    def forward(self) -> Tensor:
        return self.value * 1


def pull_to(target: float | str, of: str = "w", curvature: float = 1.0) -> Loss:
    """Return the loss curvature * (of - target)^2 / 2, where target is a number or the name of a problem."""

    def loss(v: Any, batch: Any) -> Tensor:
        return 0.5 * curvature * ((v[of] - (v[target] if isinstance(target, str) else target)) ** 2).sum()

    return loss


def bilevel(
    upper: Loss, lower: Loss, *, x: Any = 1.0, w: Any = 0.0, rate: float = 0.1, still: bool = False, **how: Any
) -> mlo.ProblemGraph:
    """Put x above w; the lower problem starts at w and makes plain gradient steps unless `how` says otherwise."""
    how = {"reads": ["x"], "update": torchopt.sgd(rate), **how}
    update = torchopt.sgd(0.0 if still else 0.1)
    top = mlo.Problem("x", upper, as_variable(x), reads=["w"], update=update)
    return mlo.ProblemGraph([top, mlo.Problem("w", lower, as_variable(w), **how)])


def as_variable(value: Any) -> Any:
    return scalar(value) if isinstance(value, int | float) else value


def total(graph: mlo.ProblemGraph, of: str = "x") -> Value:
    """Return the hypergradient as one number, or several."""
    found = mlo.hypergradient(graph, of=of)
    return float(found) if found.dim() == 0 else numbers(found)


H2 = torch.tensor([[2.0, 0.3], [0.3, 1.0]], dtype=torch.float64)
H3 = torch.tensor([[3.0, 0.5, 0.2], [0.5, 2.0, 0.4], [0.2, 0.4, 1.0]], dtype=torch.float64)


def linear_system(h: Tensor) -> tuple[Tensor, Tensor, Value]:
    """Return x, the minimum w of w.Hw/2 - w.x, and the gradient H^-1 (w - 3) of |w - 3|^2 / 2 in x."""
    x = vector(1.0, -2.0, 0.5)[: len(h)]
    w = torch.linalg.solve(h, x)
    return x, w, numbers(torch.linalg.solve(h, w - 3))


def solved_by(solver: mlo.CG | mlo.Neumann | mlo.Dense, h: Tensor) -> Value:
    """The same gradient by `mlo.Implicit(solver)`."""
    x, w, _ = linear_system(h)
    graph = bilevel(pull_to(3), lambda v, _: 0.5 * v.w @ h @ v.w - v.w @ v.x, x=x, w=w, response=mlo.Implicit(solver))
    return total(graph)
