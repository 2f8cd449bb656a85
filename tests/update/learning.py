"""A problem whose update is learned by the problem above it."""

import torch
import torchopt

import mlo

F64 = torch.float64
STEPS = 7
X0 = torch.tensor([0.9, -1.3, 0.4], dtype=F64)
MIX = torch.tensor([[2.0, 0.3, -0.2], [0.3, 1.0, 0.4], [-0.2, 0.4, 1.5]], dtype=F64)


def lower(x):
    return 0.5 * x @ MIX @ x + (x**4).sum() / 10 - x.sum()


def slope(x):
    return MIX @ x + 0.4 * x**3 - 1


def upper(x):
    return ((x - 1) ** 2).sum() + (x**3).sum() / 5


def numbers(**settings):
    return {name: torch.tensor(value, dtype=F64) for name, value in settings.items()}


def graph(make, start, steps=STEPS, reads=("h",), **how):
    top = mlo.Problem("h", lambda v, batch: upper(v.x), start, reads=["x"], update=torchopt.sgd(1e-3))
    learned = mlo.Learned(make, reads=list(reads))
    return mlo.ProblemGraph(
        [top, mlo.Problem("x", lambda v, batch: lower(v.x), X0, update=learned, steps=steps, **how)]
    )
