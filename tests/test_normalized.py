"""Normalizations in losses that are differentiated three times, and what they leave in their statistics."""

from __future__ import annotations

import pytest
import torch
import torchopt
from torch import nn
from torch.nn import functional

import mlo
import mlo.testing
from mlo.normalized import written_out

GENERATOR = torch.Generator().manual_seed(0)
X, Y = (torch.randn(9, 4, generator=GENERATOR, dtype=torch.float64) for _ in range(2))
KINDS = {
    "batch": lambda: nn.BatchNorm1d(4),
    "shared batch": lambda: mlo.SyncBatchNorm(4),
    "layer": lambda: nn.LayerNorm(4),
    "instance": lambda: nn.Sequential(nn.Unflatten(1, (1, 4)), nn.InstanceNorm1d(1, affine=True), nn.Flatten()),
}


def graph(norm):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), norm, nn.Tanh(), nn.Linear(4, 4)).double()
    options = {"update": torchopt.sgd(0.3), "steps": 2}

    def fit(v, _):
        return ((v.w(X * v.a.exp()) - Y) ** 2).mean()

    def choose(v, b):
        return fit(v, b) + ((v.a - v.t) ** 2).sum()

    def judge(v, _):
        return ((v.w(X) - Y) ** 2).mean() + (v.a**2).sum()

    t = mlo.Problem("t", judge, torch.full((4,), 0.1).double(), reads=["a", "w"], update=torchopt.sgd(0.1))
    a = mlo.Problem("a", choose, torch.zeros(4).double(), reads=["t", "w"], **options)
    return mlo.ProblemGraph([t, a, mlo.Problem("w", fit, net, reads=["a"], **options)])


@pytest.mark.parametrize("kind", KINDS)
def test_three_levels_with_exact_products(kind):
    mlo.testing.check_hypergradient(graph(KINDS[kind]()), of="t")


def cases():
    weight, bias = torch.rand(4).double(), torch.rand(4).double()
    for statistics in ((None, None), (torch.rand(4).double(), torch.rand(4).double())):
        for training in (True, False) if statistics[0] is not None else (True,):
            for x in (X, X.reshape(3, 4, 3)):
                yield functional.batch_norm, x, (*statistics, weight, bias, training, 0.3, 1e-3)
            yield functional.instance_norm, X.reshape(3, 4, 3), (*statistics, weight, None, training, 0.3, 1e-3)
    yield functional.layer_norm, X.reshape(3, 4, 3), ((4, 3),)
    yield functional.layer_norm, X.half(), ((4,), weight.half(), bias.half())


@pytest.mark.parametrize(("function", "x", "rest"), list(cases()))
def test_values_and_statistics_are_those_of_torch(function, x, rest):
    found, mine = [], [[r.clone() if isinstance(r, torch.Tensor) else r for r in rest] for _ in range(2)]
    for deep, given in zip((False, True), mine, strict=True):
        with written_out(deep):
            found.append(function(x, *given))
    torch.testing.assert_close(found[1], found[0])
    for first, second in zip(*mine, strict=True):
        if isinstance(first, torch.Tensor):
            torch.testing.assert_close(second, first)


def third(function):
    point = X.clone().requires_grad_()
    total = (function(point).tanh() * Y).sum()
    for _ in range(3):
        (slope,) = torch.autograd.grad(total, point, create_graph=True)
        total = (slope * Y).sum()
    return total.detach()


def test_torch_takes_a_wrong_third_derivative():
    """Once this fails, torch has mended it, and `mlo/normalized.py` can go."""
    norm = lambda x: functional.layer_norm(x, (4,))  # noqa: E731
    with written_out(True):
        right = third(norm)
    assert abs(third(norm) - right) > 0.1 * abs(right)
