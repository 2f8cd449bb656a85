"""The rows on higher: https://github.com/facebookresearch/higher."""

import higher
import torch
from torch import nn
from torch.optim import SGD, NAdam
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.peers.problems import Number, scalar
from benchmarks.peers.record import Value


def scheduled() -> Value:
    net, x = Number(0), scalar(1).requires_grad_()
    optimizer = SGD(net.parameters(), lr=0.5)
    scheduler = LambdaLR(optimizer, lambda step: 0.5**step)
    with higher.innerloop_ctx(net, optimizer) as (inner, differentiable):
        for _ in range(3):
            differentiable.step(0.5 * (inner() - x) ** 2)
            scheduler.step()
        return float(torch.autograd.grad(inner(), x)[0])


def kept() -> Value:
    net, x = Number(0), scalar(1).requires_grad_()
    with higher.innerloop_ctx(net, SGD(net.parameters(), lr=0.1)) as (inner, differentiable):
        for _ in range(5):
            differentiable.step(0.5 * (inner() - x) ** 2)
        torch.autograd.grad(inner(), x)
        return float(len(inner._fast_params))


def batch_norm() -> Value:
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1)).double()
    inputs, x = torch.randn(8, 2, dtype=torch.float64), scalar(1).requires_grad_()
    with higher.innerloop_ctx(net, SGD(net.parameters(), lr=0.1)) as (inner, differentiable):
        for _ in range(3):
            differentiable.step(((inner(inputs) - x) ** 2).mean())
    return float(net[0].num_batches_tracked)


def nadam() -> Value:
    net, x = Number(0), scalar(1).requires_grad_()
    with higher.innerloop_ctx(net, NAdam(net.parameters(), lr=0.1, eps=1.0)) as (inner, differentiable):
        differentiable.step(0.5 * (inner() - x) ** 2)
        return float(torch.autograd.grad(inner(), x)[0])


THEIRS = {"U1": scheduled, "U2": kept, "U3": batch_norm, "U4": nadam}
