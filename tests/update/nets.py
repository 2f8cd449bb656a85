"""A small network under an outer penalty, trained by the library or, as everybody does, by a plain loop."""

import functools

import torch
from torch import nn
from torch.optim import SGD

import mlo

F64 = torch.float64
X = torch.tensor([1.0, -0.5, 2.0], dtype=F64)


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)).double()


def graph(variable, update, steps=4):
    """Return a regularized fit: the strength is the outer variable."""

    def fit(v, batch):
        out = v.w(X) if isinstance(variable, nn.Module) else sum((value**3).sum() for value in tensors(v.w))
        return ((out - 1) ** 2).sum() + v.z.exp() * sum((value**2).sum() for value in tensors(v.w))

    def tensors(value):
        if isinstance(value, torch.Tensor):
            return [value]
        return list((value.params if isinstance(variable, nn.Module) else value).values())

    top = mlo.Problem(
        "z",
        lambda v, batch: sum((value**2).sum() for value in tensors(v.w)),
        torch.zeros((), dtype=F64),
        reads=["w"],
        update=functools.partial(SGD, lr=0.1),
    )
    return mlo.ProblemGraph([top, mlo.Problem("w", fit, variable, reads=["z"], update=update, steps=steps)])


def plain(net, optimizer, scheduler=None, steps=4, z=0.0):
    """Train for real, in the way everybody does."""
    for _ in range(steps):
        optimizer.zero_grad()
        decay = torch.tensor(z, dtype=F64).exp() * sum((p**2).sum() for p in net.parameters())
        (((net(X) - 1) ** 2).sum() + decay).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return {name: value.detach() for name, value in net.named_parameters()}


def snapshot(value):
    """Return everything an optimizer or scheduler holds, comparable by ==."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone().flatten().tolist(), value.requires_grad, value.grad is None
    if isinstance(value, dict):
        return {str(key): snapshot(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [snapshot(part) for part in value]
    return value if isinstance(value, int | float | str | bool | None) else type(value).__name__
