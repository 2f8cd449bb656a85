"""A smooth problem in three unknowns that every optimizer is tried on, and the problem above it."""

import torch

import mlo

F64 = torch.float64
X0 = torch.tensor([0.9, -1.3, 0.4], dtype=F64)
Z0 = torch.tensor([0.3, -0.8, 0.5], dtype=F64)
MIX = torch.tensor([[2.0, 0.3, -0.2], [0.3, 1.0, 0.4], [-0.2, 0.4, 1.5]], dtype=F64)


def lower(x, z):
    return 0.5 * x @ MIX @ x + (x**4).sum() / 10 - (torch.sin(z) * x).sum()


def slope(z):
    return lambda x: MIX @ x + 0.4 * x**3 - torch.sin(z)


def upper(x):
    return ((x - 1) ** 2).sum() + (x**3).sum() / 5


def graph(update, steps=7, response=None):
    def inner(v, batch):
        return lower(v.x, v.z)

    return mlo.ProblemGraph(
        [
            mlo.Problem("z", lambda v, batch: upper(v.x), Z0, reads=["x"]),
            mlo.Problem("x", inner, X0, reads=["z"], update=update, steps=steps, response=response or mlo.Unroll()),
        ]
    )
