"""The engine on graphs of several shapes, and what it hands out."""

from __future__ import annotations

import pytest
import torch
import torchopt
from torch import nn

import mlo


def scalar(value):
    return torch.tensor(float(value), dtype=torch.float64)


def test_a_problem_that_does_not_respond_is_trained_too():
    free = {"update": torchopt.sgd(0.1, momentum=0.9), "steps": 2}
    top = mlo.Problem("x", lambda v, b: v.c * v.x, scalar(1), reads=["c"], update=torchopt.sgd(0.1))
    engine = mlo.Engine(mlo.ProblemGraph([top, mlo.Problem("c", lambda v, b: 0.5 * v.c**2, scalar(1), **free)]))
    c, buffer = 1.0, 0.0
    for report in engine.run(3):
        for _ in range(2):
            norm, buffer = abs(c), 0.9 * buffer + c
            loss, c = 0.5 * c**2, c - 0.1 * buffer
        assert report.losses["c"] == pytest.approx(loss, rel=1e-12)
        assert report.norms["c"] == pytest.approx(norm, rel=1e-12)
        assert report.norms["x"] == pytest.approx(abs(c), rel=1e-12)
        assert float(engine.values["c"]) == pytest.approx(c, rel=1e-12)


@pytest.mark.parametrize("look_ahead", [False, True])
@pytest.mark.parametrize("rule", [mlo.Unroll(), mlo.Implicit()], ids=str)
def test_three_nested_levels_reach_their_optimum(rule, look_ahead):
    # low* = m + u, so m* = (1 - u) / 2, so that m* = 3 for u = -5. Both updates below are Newton steps.
    u = mlo.Problem("u", lambda v, b: 0.5 * (v.m - 3) ** 2, scalar(1), reads=["m"], update=torchopt.sgd(2.0))
    m = {"reads": ["low"], "update": torchopt.sgd(0.5), "response": rule}
    m = mlo.Problem("m", lambda v, b: 0.5 * v.m**2 + 0.5 * (v.low - 1) ** 2, scalar(0), **m)
    low = {"reads": ["m", "u"], "update": torchopt.sgd(1.0), "response": rule}
    low = mlo.Problem("low", lambda v, b: 0.5 * (v.low - v.m - v.u) ** 2, scalar(0), **low)
    engine = mlo.Engine(mlo.ProblemGraph([u, m, low]), look_ahead=look_ahead)
    for _ in engine.run(60):  # the distance halves in each step, 2^-60 < 1e-17; one more settles the warm answers
        pass
    assert {name: float(value) for name, value in engine.values.items()} == {
        "u": pytest.approx(-5, rel=1e-12),
        "m": pytest.approx(3, rel=1e-12),
        "low": pytest.approx(-2, rel=1e-12),
    }


def test_values_and_exports_are_of_the_declared_kind():
    net = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1)).double()
    many = {"b": torch.ones(2).double(), "a": torch.ones(()).double()}
    rows = torch.eye(2).double()
    top = {"reads": ["net", "many"], "update": torchopt.sgd(0.1)}
    top = mlo.Problem("x", lambda v, b: (v.net(rows).sum() + v.many["a"]) * v.x, scalar(1), **top)
    net_problem = mlo.Problem("net", lambda v, b: v.net(rows).pow(4).sum(), net, update=torchopt.sgd(0.1))
    many_problem = {"update": torchopt.sgd(0.1)}
    many_problem = mlo.Problem("many", lambda v, b: v.many["a"] ** 2 + v.many["b"].sum(), many, **many_problem)
    engine = mlo.Engine(mlo.ProblemGraph([top, net_problem, many_problem]))
    engine.step()
    assert isinstance(engine.values["x"], torch.Tensor)
    assert list(engine.values["many"]) == ["b", "a"]
    assert list(engine.values["net"]) == [name for name, _ in net.named_parameters()]
    exported = engine.export("net")
    assert isinstance(exported, nn.Sequential)
    assert all(torch.equal(p, engine.values["net"][name]) for name, p in exported.named_parameters())
    with torch.no_grad():
        exported[0].weight.zero_()
    engine.export("x").zero_(), engine.export("many")["a"].zero_()
    assert engine.values["net"]["0.weight"].abs().sum() > 0
    assert float(engine.values["x"]) != 0
    assert float(engine.values["many"]["a"]) != 0
