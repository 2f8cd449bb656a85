"""The rows of the comparison of speed by hypertorch, whose package is called hypergrad."""

from collections.abc import Callable

import hypergrad
import torch
from torch import Tensor

from benchmarks.floor_problems import LR, Task
from benchmarks.peers.speed import Contender


def by(task: Task, rule: Callable[..., list[Tensor]], solver_steps: int) -> Callable[[], Tensor]:
    def step(w: list[Tensor], hparams: list[Tensor]) -> list[Tensor]:
        found = torch.autograd.grad(task.fit(w, hparams[0]), w, create_graph=True)
        return [value - LR * part for value, part in zip(w, found, strict=True)]

    def outer(w: list[Tensor], hparams: list[Tensor]) -> Tensor:
        return task.validate(w, hparams[0])

    def act() -> Tensor:
        x, leaves = task.upper.clone().requires_grad_(), [value.detach().requires_grad_() for value in task.start]
        found = torch.autograd.grad(task.fit(leaves, x), leaves)
        end = [torch.add(value, part, alpha=-LR) for value, part in zip(leaves, found, strict=True)]
        return rule(end, [x], K=solver_steps, fp_map=step, outer_loss=outer, tol=0.0, set_grad=False)[0]

    return act


def contenders(task: Task, solver_steps: int) -> list[Contender]:
    rules = {("cg", "CG"): hypergrad.CG, ("neumann", "neumann"): hypergrad.neumann}
    return [Contender(*names, by(task, rule, solver_steps), lambda found: found) for names, rule in rules.items()]
