"""Problem graphs of three numbers a variable, without data, that stay bounded for any number of steps."""

from __future__ import annotations

from functools import partial

import torch
import torchopt
from torch import nn

import mlo

SGD = torchopt.sgd(0.1)


def start(value=0.3):
    return torch.full((3,), value, dtype=torch.float64)


def near(v, _, *, own, other):
    """Keep one variable near a bounded function of another."""
    return ((v[own] - v[other].tanh()) ** 2).sum() + 0.1 * (v[own] ** 2).sum()


def judge(v, _, *, below=("w",)):
    return torch.stack([((v[name] - 0.5) ** 2).sum() for name in below]).sum() + 0.1 * (v.a**2).sum()


def bilevel(rule, *, steps=1, update=SGD, top=SGD, loss=None, **options):
    fit = loss or partial(near, own="w", other="a")
    lower = mlo.Problem("w", fit, start(), reads=["a"], update=update, steps=steps, response=rule, **options)
    return mlo.ProblemGraph([mlo.Problem("a", judge, start(), reads=["w"], update=top), lower])


def trilevel(rule):
    def middle(v, _):
        return judge(v, _) + ((v.a - v.t) ** 2).sum()

    def outermost(v, _):
        return judge(v, _) + 0.1 * (v.t**2).sum()

    t = mlo.Problem("t", outermost, start(), reads=["a", "w"], update=SGD)
    a = mlo.Problem("a", middle, start(), reads=["t", "w"], update=SGD, response=rule)
    w = mlo.Problem("w", partial(near, own="w", other="a"), start(), reads=["a"], update=SGD, response=rule)
    return mlo.ProblemGraph([t, a, w])


def chain(rule, *, rounds=2):
    learners = [
        mlo.Problem(name, partial(near, own=name, other="a"), start(), reads=["a"], update=SGD, response=rule)
        for name in ("one", "two")
    ]
    proximal = mlo.Proximal(2.0, step_size=0.1)
    stages = mlo.interleave(learners, rounds=rounds, proximal=proximal, shared=lambda name: True)
    lasts = [f"{one.name}@{rounds}" for one in learners]
    top = mlo.Problem("a", partial(judge, below=lasts), start(), reads=lasts, update=SGD)
    return mlo.ProblemGraph([top, *stages])


def learned():
    """The step size below is what the variable above learns."""
    update = mlo.Learned(lambda v: torchopt.sgd(0.1 * v.a.mean().sigmoid(), momentum=0.5), reads=["a"])
    lower = mlo.Problem("w", lambda v, _: ((v.w - 1) ** 2).sum(), start(), update=update, steps=2)
    return mlo.ProblemGraph([mlo.Problem("a", judge, start(), reads=["w"], update=SGD), lower])


def network(rule):
    """A network with running statistics."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 1)).double()
    x = torch.linspace(-1, 1, 8, dtype=torch.float64).view(4, 2)

    class Fresh:
        """Two batches in a pass, each a tensor of its own, so that it shows if one is kept."""

        def __iter__(self):
            return (x.clone() for _ in range(2))

    def fit(v, batch):
        return ((v.w(batch) - v.a.tanh()) ** 2).mean()

    lower = mlo.Problem("w", fit, net, reads=["a"], update=SGD, response=rule, batches=Fresh())
    upper = mlo.Problem(
        "a", lambda v, batch: ((v.w(batch) - 0.5) ** 2).mean(), start(), reads=["w"], update=SGD, batches=Fresh()
    )
    return mlo.ProblemGraph([upper, lower])
