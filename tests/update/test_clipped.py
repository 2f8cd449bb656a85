"""Clipping around any update, with its derivative."""

import functools

import pytest
import torch
import torchopt

import mlo
from mlo.update import as_update
from tests.update import formulas
from tests.update.formulas import unrolled

F64 = torch.float64
X0 = {"a": torch.tensor([0.9, -1.3], dtype=F64), "b": torch.tensor(0.4, dtype=F64)}
SGD = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def slopes(flat, z):
    return torch.stack([2 * flat[0] - z, flat[1] ** 3, torch.sin(flat[2] + z)])


def loss(v, batch):
    flat = torch.cat([v.x["a"], v.x["b"].reshape(1)])
    return flat[0] ** 2 - v.z * flat[0] + flat[1] ** 4 / 4 - torch.cos(flat[2] + v.z)


def upper(flat):
    return (flat**2).sum() + flat[0] * flat[1]


def found(update, steps=5):
    top = mlo.Problem(
        "z",
        lambda v, batch: upper(torch.cat([v.x["a"], v.x["b"].reshape(1)])),
        torch.tensor(0.7, dtype=F64),
        reads=["x"],
    )
    lowest = mlo.Problem("x", loss, X0, reads=["z"], update=update, steps=steps)
    return mlo.hypergradient(mlo.ProblemGraph([top, lowest]), of="z")


def by_hand(rule, settings, clip, steps=5):
    z = torch.tensor(0.7, dtype=F64, requires_grad=True)
    start = torch.cat([X0["a"], X0["b"].reshape(1)])
    end = unrolled(rule, lambda x: clip(slopes(x, z)), start, steps, settings)
    return torch.autograd.grad(upper(end), z)[0]


def norm(limit):
    return lambda g: g * (limit / g.norm()).clamp(max=1.0)


def entries(limit):
    return lambda g: torch.where(g.abs() > limit, limit * g.sign(), g)


@pytest.mark.parametrize("limit", [0.5, 1.5, 50.0])
@pytest.mark.parametrize("kind", ["max_norm", "max_value"])
def test_it_equals_a_loop_by_hand(kind, limit, double):
    clip = (norm if kind == "max_norm" else entries)(limit)
    sgd = {"lr": 0.1, "momentum": 0.9}
    adam = {"lr": 0.1, "weight_decay": 0.1}
    cases = [
        (SGD, formulas.sgd, sgd),
        (functools.partial(torch.optim.Adam, **adam), formulas.adam, adam),
        (torchopt.sgd(0.1, momentum=0.9), formulas.sgd, sgd),
    ]
    for update, rule, settings in cases:
        ours = found(mlo.Clipped(update, **{kind: limit}))
        assert float(ours) == pytest.approx(float(by_hand(rule, settings, clip)), rel=1e-11)


def test_entries_are_clipped_before_the_norm():
    ours = found(mlo.Clipped(SGD, max_norm=0.6, max_value=0.5))
    truth = by_hand(formulas.sgd, {"lr": 0.1, "momentum": 0.9}, lambda g: norm(0.6)(entries(0.5)(g)))
    assert float(ours) == pytest.approx(float(truth), rel=1e-11)


def test_a_limit_that_is_not_reached_changes_nothing():
    assert torch.equal(found(mlo.Clipped(SGD, max_norm=1e6, max_value=1e6)), found(SGD))


def test_it_equals_clipping_inside_of_a_torchopt_chain():
    chain = torchopt.chain(mlo.clip_norm(0.7), torchopt.sgd(0.1))
    assert torch.equal(found(mlo.Clipped(torchopt.sgd(0.1), max_norm=0.7)), found(chain))


def test_it_is_as_good_as_what_it_holds():
    top = mlo.Problem("z", lambda v, batch: v.x["b"], torch.tensor(0.7, dtype=F64), reads=["x"])

    def lowest(update, response):
        clipped = mlo.Clipped(update, max_norm=1.0)
        return mlo.ProblemGraph([top, mlo.Problem("x", loss, X0, reads=["z"], update=clipped, response=response)])

    with pytest.raises(mlo.GraphError, match=r"'x' cannot be unrolled.*Adafactor"):
        lowest(torch.optim.Adafactor, mlo.Unroll())
    with pytest.raises(mlo.GraphError, match=r"'x' cannot respond by Implicit.*decays"):
        lowest(torch.optim.AdamW, mlo.Implicit())
    lowest(torch.optim.Adam, mlo.Implicit())


@pytest.mark.parametrize("limits", [{}, {"max_norm": 0.0}, {"max_norm": float("nan")}, {"max_value": True}])
def test_limits_are_checked(limits):
    with pytest.raises(mlo.ConfigError, match="Clipped"):
        mlo.Clipped(SGD, **limits)


def test_what_it_holds_is_checked():
    with pytest.raises(mlo.GraphError, match=r"'x': update must be"):
        as_update("x", mlo.Clipped(0.1, max_norm=1.0), X0)
    with pytest.raises(mlo.ConfigError, match="belongs to no problem"):
        mlo.Clipped(SGD, max_norm=1.0).init(X0)
