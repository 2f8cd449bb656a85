"""The rows of the comparison of speed by Betty: an engine that makes one outer step at a time."""

from typing import Any

import torch
from torch import Tensor

from benchmarks.floor_problems import LR, MOMENTUM, UPPER_LR, Task
from benchmarks.peers.run_betty import Holder, engine, problem
from benchmarks.peers.speed import Contender, Weights


def made(task: Task, **how: Any) -> tuple[Any, Any]:
    upper = problem("x", Holder(task.upper), lambda p: task.validate(p.w(), p()), rate=UPPER_LR)
    momentum = {"optimizer": lambda params: torch.optim.SGD(params, lr=LR, momentum=MOMENTUM)}
    lower = problem("w", Weights(task.start), lambda p: task.fit(p(), p.x()), **momentum, **how)
    upper.module.held[0].data = task.upper.clone()  # in the task's dtype
    return engine([upper, lower], {upper: [lower]}, {lower: [upper]}), upper


def contender(task: Task, rule: str, label: str, **how: Any) -> Contender:
    runner, upper = made(task, **how)

    def gradient(_: Any) -> Tensor:
        found: Tensor = upper.seen[0].clone()
        return found

    return Contender(rule, label, runner.train_step, gradient, outer_step=True)


def contenders(task: Task, solver_steps: int) -> list[Contender]:
    conjugate = {"type": "cg", "cg_iterations": solver_steps, "cg_alpha": 1.0}
    series = {"type": "neumann", "neumann_iterations": solver_steps, "neumann_alpha": LR}
    return [
        contender(task, "difference", "darts", type="darts"),
        contender(task, "cg", "cg", **conjugate),
        contender(task, "neumann", "neumann", **series),
    ]
