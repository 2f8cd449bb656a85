"""A gradient that overflows float16 on one rank is told of in the same words on all."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torchopt

import mlo
from tests.parallel.ranks import outcomes


def overflowing():
    """Make a step of which the gradient, of 1e6 times the scale, overflows on the last rank alone."""
    last = dist.get_rank() == dist.get_world_size() - 1

    def loss(v, batch):
        return (v.w.half().float() * batch.mean()).sum()

    batches = [torch.full((2,), 1e6 if last else 1.0)]
    w = mlo.Problem(
        "w", loss, torch.ones(3), update=torchopt.sgd(0.1), batches=batches, precision=mlo.Autocast(torch.float16)
    )
    mlo.Engine(mlo.ProblemGraph([w])).step()


def test_ranks_name_the_problem_and_the_scale():
    for one in outcomes(overflowing, 2):
        assert isinstance(one.error, mlo.DivergenceError), one
        assert "the gradient of problem 'w' is not finite at the scale 4096" in str(one.error), one
