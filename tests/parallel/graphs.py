"""The problem graphs that ranks share, each with the part of the data that a rank has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torchopt
from torch import nn

import mlo

FEATURES = 3


@dataclass(frozen=True)
class Share:
    """Which examples of every batch are on one rank: every `world`-th, from `rank` on."""

    rank: int = 0
    world: int = 1

    def __call__(self, batch):
        return tuple(part[self.rank :: self.world] for part in batch)


def data(seed, size, share, *, count=3, shape=(FEATURES,)):
    """Draw `count` batches of `size` examples, the same whatever the share, and return that share of each."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return [share((draw(size, *shape), draw(size))) for _ in range(count)]


def linear():
    torch.manual_seed(3)
    return nn.Linear(FEATURES, 1, dtype=torch.float64)


def network(*, norm=None):
    """Return a small net that is smooth, with a BatchNorm if `norm` makes one."""
    torch.manual_seed(3)
    layers = [nn.Linear(FEATURES, 5, dtype=torch.float64), nn.Tanh(), nn.Linear(5, 1, dtype=torch.float64)]
    return nn.Sequential(*([layers[0], norm(), *layers[1:]] if norm else layers))


def error(model, batch):
    x, y = batch
    return ((model(x).squeeze(-1) - y) ** 2).mean()


def decayed(v, batch):
    """A ridge regression with a decay for every feature: strictly convex, so that linear solves converge."""
    return error(v.w, batch) + (v.a.exp() * v.w.params["weight"] ** 2).sum()


def scaled(v, batch, *, name="w"):
    """A regression on scaled features."""
    x, y = batch
    return error(v[name], (x * v.a.exp(), y))


def start(value=0.0):
    return torch.full((FEATURES,), value, dtype=torch.float64)


def bilevel(rule, share, size, *, loss=decayed, model=linear, update=None, top=None, accumulate=1, steps=3):
    upper = mlo.Problem(
        "a",
        lambda v, b: error(v.w, b),
        start(),
        reads=["w"],
        update=top or torchopt.adam(0.05),
        batches=data(1, size, share),
        accumulate=accumulate,
    )
    lower = mlo.Problem(
        "w",
        loss,
        model(),
        reads=["a"],
        update=update or torchopt.sgd(0.1),
        steps=steps,
        batches=data(2, size, share),
        response=rule,
        accumulate=accumulate,
    )
    return mlo.ProblemGraph([upper, lower])


def trilevel(rule, share, size):
    """The middle one reads the lowest, and the outermost reads both."""

    def outermost(v, b):
        return error(v.w, b) + 0.1 * (v.a**2).sum()

    def middle(v, b):
        return error(v.w, b) + ((v.a - v.t) ** 2).sum()

    t = mlo.Problem(
        "t", outermost, start(0.1), reads=["a", "w"], update=torchopt.sgd(0.1), batches=data(1, size, share)
    )
    a = mlo.Problem(
        "a",
        middle,
        start(),
        reads=["t", "w"],
        update=torchopt.sgd(0.1),
        steps=2,
        batches=data(2, size, share),
        response=rule,
    )
    w = mlo.Problem(
        "w",
        decayed,
        linear(),
        reads=["a"],
        update=torchopt.sgd(0.1),
        steps=2,
        batches=data(3, size, share),
        response=rule,
    )
    return mlo.ProblemGraph([t, a, w])


def relay(rule, share, size):
    """Problems of one step, of which one has an answer of another in its loss: it cannot be taken ahead."""

    def lower(name, seed, loss, reads):
        options = {"update": torchopt.sgd(0.1), "response": rule, "batches": data(seed, size, share)}
        return mlo.Problem(name, loss, linear(), reads=reads, **options)

    def near(v, b):
        return error(v.u, b) + ((v.u.params["weight"] - v.w.params["weight"]) ** 2).sum()

    def judge(v, b):
        return error(v.w, b) + error(v.u, b) + error(v.z, b)

    top = mlo.Problem(
        "a", judge, start(), reads=["w", "u", "z"], update=torchopt.sgd(0.1), batches=data(1, size, share)
    )
    stages = [lower(name, seed, partial(scaled, name=name), ["a"]) for seed, name in ((2, "z"), (3, "w"))]
    return mlo.ProblemGraph([top, lower("u", 4, near, ["w"]), *stages])


def learned(share, size):
    """The step size of the lower problem is what the upper one learns."""

    def lower(v, b):
        return error(v.w, b)

    update = mlo.Learned(lambda v: torchopt.sgd(v.rate.exp(), momentum=0.9), reads=["rate"])
    rate = torch.tensor(-2.0, dtype=torch.float64)
    upper = mlo.Problem("rate", lower, rate, reads=["w"], update=torchopt.adam(0.05), batches=data(1, size, share))
    w = mlo.Problem("w", lower, network(), update=update, steps=3, batches=data(2, size, share))
    return mlo.ProblemGraph([upper, w])


def chain(
    rule,
    share,
    size,
    *,
    learners=2,
    rounds=2,
    model=linear,
    update=None,
    proximal=None,
    summed=True,
    sizes=None,
    slow=None,
    begin="persistent",
):
    """An interleaving of `learners` x `rounds` stages of one step (of two for `slow`), and the last round's losses."""
    names = [f"l{index}" for index in range(learners)]
    lasts = [f"{name}@{rounds}" for name in names]
    sizes = sizes or [size] * learners
    tasks = [
        mlo.Problem(
            name,
            partial(scaled, name=name),
            model(),
            reads=["a"],
            update=update or torchopt.sgd(0.1, momentum=0.9),
            batches=data(10 + index, sizes[index], share),
            response=rule,
            steps=2 if name == slow else 1,
        )
        for index, name in enumerate(names)
    ]
    proximal = proximal or mlo.Proximal(2.0, step_size=0.1)
    stages = mlo.interleave(tasks, rounds=rounds, proximal=proximal, shared=lambda name: True, start=begin)
    losses = [partial(_last, name) for name in lasts]
    valid = list(zip(*(data(20 + index, sizes[index], share) for index in range(learners)), strict=True))
    whole = mlo.Sum(losses) if summed else partial(_added, losses)
    top = mlo.Problem("a", whole, start(), reads=lasts, update=torchopt.adam(0.05), batches=valid)
    return mlo.ProblemGraph([top, *stages])


def _last(name, v, b):
    return error(v[name], b)


def _added(losses, v, b):
    return torch.stack([loss(v, part) for loss, part in zip(losses, b, strict=True)]).sum()
