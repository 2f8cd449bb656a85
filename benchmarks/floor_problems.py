"""The problems on which operations are counted, as plain functions of lists of tensors, and as problems of `mlo`.

`deep`: 30 layers in 60 tensors, the examples of a batch weighted by the upper variable (data cleaning). `chain`: the
same for two tasks that share all but the last layer. `wide`: 1,400 small tensors, mixed by the upper variable as in a
supernet: what a search network looks like to an optimizer.

How many operations a gradient takes depends on the number of layers, not on their width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torchopt
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

import mlo

Tensors = Sequence[Tensor]
Loss = Callable[[Tensors, Tensor], Tensor]

LR, MOMENTUM, UPPER_LR = 0.2, 0.9, 0.1
STRENGTH = 1.0  # lambda of the proximal term: c = 2 * LR * STRENGTH = 0.4
PULL = 4.0  # towards the start: makes the Hessian positive definite, as CG and the Neumann series need it
STAGES = ("a@1", "b@1", "a@2", "b@2")


@dataclass(frozen=True, eq=False)
class Task:
    """One bilevel problem.

    Attributes:
        fit: The lower loss of (weights, upper variable).
        validate: The upper loss.
        start: Initial weights.
        upper: Initial upper variable.
    """

    fit: Loss
    validate: Loss
    start: list[Tensor]
    upper: Tensor

    def graph(self, response: mlo.hypergradient.AbstractResponse, *, steps: int) -> mlo.ProblemGraph:
        """Return the problem as `mlo` takes it."""
        upper = mlo.Problem(
            "x",
            lambda v, _: self.validate(list(v.w.values()), v.x),
            self.upper,
            reads=["w"],
            update=torchopt.sgd(UPPER_LR),
        )
        lower = mlo.Problem(
            "w",
            lambda v, _: self.fit(list(v.w.values()), v.x),
            named(self.start),
            reads=["x"],
            update=torchopt.sgd(LR, momentum=MOMENTUM),
            steps=steps,
            response=response,
        )
        return mlo.ProblemGraph([upper, lower])


@dataclass(frozen=True, eq=False)
class Chain:
    """Two tasks, each with weights that hold one encoder and one head, and one upper variable with a row for each.

    Attributes:
        tasks: The two; their upper variable is a row of `upper`.
        upper: Initial upper variable.
        shared: How many of the first tensors are the encoder.
    """

    tasks: tuple[Task, Task]
    upper: Tensor
    shared: int

    def graph(self, product: mlo.hypergradient.AbstractProduct) -> mlo.ProblemGraph:
        """Return the interleaving of K = 2 learners in M = 2 rounds as `mlo` takes it; each stage makes one step."""

        def learner(name: str, row: int) -> mlo.Problem:
            return mlo.Problem(
                name,
                lambda v, _: self.tasks[row].fit(list(v[name].values()), v.x[row]),
                named(self.tasks[row].start),
                reads=["x"],
                update=torchopt.sgd(LR),
                response=mlo.Unroll(product=product),
            )

        def validate(v: mlo.View, _: object) -> Tensor:
            answers = (list(v["a@2"].values()), list(v["b@2"].values()))
            return sum(task.validate(found, v.x) for task, found in zip(self.tasks, answers, strict=True))

        held = {str(index) for index in range(self.shared)}
        proximal = mlo.Proximal(STRENGTH, step_size=LR)
        stages = mlo.interleave(
            [learner("a", 0), learner("b", 1)], rounds=2, proximal=proximal, shared=lambda name: name in held
        )
        upper = mlo.Problem("x", validate, self.upper, reads=["a@2", "b@2"], update=torchopt.sgd(UPPER_LR))
        return mlo.ProblemGraph([upper, *stages])


def named(values: Tensors) -> dict[str, Tensor]:
    return {str(index): value for index, value in enumerate(values)}


def deep(*, layers: int = 30, width: int = 80, batch: int = 64, classes: int = 10, seed: int = 0) -> Task:
    """Return data cleaning with a network of `layers` linear layers (188,730 weights at the default width)."""
    draw = torch.Generator().manual_seed(seed)
    sizes = [width] * layers + [classes]

    def images() -> tuple[Tensor, Tensor]:
        pixels = torch.randn(batch, width, generator=draw, dtype=torch.float64)
        return pixels.to(torch.get_default_dtype()), torch.randint(classes, (batch,), generator=draw)

    def network(params: Tensors, x: Tensor) -> Tensor:
        for weight, bias in zip(params[:-2:2], params[1:-2:2], strict=True):
            x = linear(x, weight, bias).tanh()
        return linear(x, params[-2], params[-1])

    (x, y), (valid_x, valid_y) = images(), images()

    def fit(params: Tensors, upper: Tensor) -> Tensor:
        each = cross_entropy(network(params, x), y, reduction="none")
        gaps = [value - at for value, at in zip(params, start, strict=True)]
        return (upper.sigmoid() * each).mean() + PULL / 2 * torch.stack([(gap * gap).sum() for gap in gaps]).sum()

    def validate(params: Tensors, upper: Tensor) -> Tensor:
        return cross_entropy(network(params, valid_x), valid_y)

    start: list[Tensor] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        weight = torch.randn(fan_out, fan_in, generator=draw, dtype=torch.float64) / fan_in**0.5
        start += [weight.to(x), torch.zeros(fan_out).to(x)]
    return Task(fit, validate, start, torch.zeros(batch).to(x))


def chain(*, layers: int = 30, width: int = 80, batch: int = 64) -> Chain:
    """Return two of those, that share all but their last layer."""
    first, second = (deep(layers=layers, width=width, batch=batch, seed=seed) for seed in (0, 1))
    return Chain((first, second), torch.stack([first.upper, second.upper]), 2 * layers - 2)


def wide(*, cells: int = 20, edges: int = 5, width: int = 4, batch: int = 8) -> Task:
    """Return a network of mixed operations, 14 tensors on each edge: 1,400 at the default size."""
    draw = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64).to(torch.get_default_dtype())

    def separable(x: Tensor, p: Tensors) -> Tensor:  # scale, matrix, and both again, as depthwise and pointwise
        return ((x.tanh() * p[0] @ p[1]).tanh() * p[2]) @ p[3]

    def dilated(x: Tensor, p: Tensors) -> Tensor:
        return x.tanh() * p[0] @ p[1] + p[2]

    def mixed(x: Tensor, p: Tensors, mix: Tensors) -> Tensor:
        found = separable(x, p[:4]), separable(x, p[4:8]), dilated(x, p[8:11]), dilated(x, p[11:])
        return sum(share * out for share, out in zip(mix, found, strict=True))

    def network(params: Tensors, x: Tensor, upper: Tensor) -> Tensor:
        mix = [row.unbind() for row in upper.softmax(-1).unbind()]
        for cell in range(cells):
            own = [params[14 * (cell * edges + edge) :][:14] for edge in range(edges)]
            x = x + sum(mixed(x, p, row) for p, row in zip(own, mix, strict=True)) / edges
        return x

    examples = [(drawn(batch, width), torch.randint(width, (batch,), generator=draw)) for _ in range(2)]

    def loss(example: tuple[Tensor, Tensor]) -> Loss:
        return lambda params, upper: cross_entropy(network(params, example[0], upper), example[1])

    square, row = (width, width), (width,)
    shapes = 2 * [row, square, row, square] + 2 * [row, square, row]
    start = [drawn(*shape) / width**0.5 for _ in range(cells * edges) for shape in shapes]
    return Task(loss(examples[0]), loss(examples[1]), start, 0.1 * drawn(edges, 4))
