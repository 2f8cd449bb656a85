"""The row of the comparison of speed by higher."""

import higher
import torch
from torch import Tensor

from benchmarks.floor_problems import LR, MOMENTUM, Task
from benchmarks.peers.speed import STEPS, Contender, Weights


def contenders(task: Task, solver_steps: int) -> list[Contender]:
    net = Weights(task.start)

    def act() -> Tensor:
        x = task.upper.clone().requires_grad_()
        optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM)
        with higher.innerloop_ctx(net, optimizer) as (inner, differentiable):
            for _ in range(STEPS["unroll"]):
                differentiable.step(task.fit(inner(), x))
            return torch.autograd.grad(task.validate(inner(), x), x)[0]

    return [Contender("unroll", "innerloop_ctx", act, lambda found: found)]
