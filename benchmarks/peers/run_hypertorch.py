"""The rows on hypertorch: https://github.com/prolearner/hypertorch, whose package is called hypergrad."""

from collections.abc import Callable

import hypergrad
import torch
from torch import Tensor

from benchmarks.peers.problems import H2, H3, linear_system
from benchmarks.peers.record import Value, numbers

RATE = 0.1


def by(rule: Callable[..., list[Tensor]], h: Tensor, *unused: Tensor) -> Value:
    start, minimum, _ = linear_system(h)
    x = start.clone().requires_grad_()

    def step(params: list[Tensor], hparams: list[Tensor]) -> list[Tensor]:
        return [params[0] - RATE * (params[0] @ h - hparams[0])]

    def outer(params: list[Tensor], hparams: list[Tensor]) -> Tensor:
        return 0.5 * ((params[0] - 3) ** 2).sum()

    return numbers(rule([minimum], [x, *unused], K=500, fp_map=step, outer_loss=outer)[0])


THEIRS = {
    "H1": lambda: by(hypergrad.CG, H2[:1, :1]),
    "H1b": lambda: by(hypergrad.CG, 2 * torch.eye(2, dtype=torch.float64)),
    "H1c": lambda: by(hypergrad.CG, H3),
    "H2": lambda: by(hypergrad.neumann, H2, torch.zeros(1, dtype=torch.float64).requires_grad_()),
}
