"""Engines small enough to save often, and what two of them hold, compared bit for bit."""

from __future__ import annotations

import re

import pytest
import torch
import torchopt

import mlo

LOWER = torch.tensor([[1.0, 2.0, -1.0], [0.5, -1.0, 2.0]]).double()  # one batch each: a restored engine begins anew
UPPER = torch.tensor([[0.3, -0.2, 0.9], [1.0, 1.0, -0.4]]).double()


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 1)).double()


def fit(v, batch):
    return ((v.w(batch) - 1) ** 2).mean() + (v.x.exp() * v.w.params["0.weight"] ** 2).sum()


def validate(v, batch):
    return ((v.w(batch) + batch[:, :1]) ** 2).mean() + 0.1 * (v.x**2).sum()


def engine(lower=None, upper=None, *, look_ahead=False, **lower_options):
    """A network with BatchNorm under an outer vector; `lower` may be a function of the network."""
    module = network()
    lower = lower(module) if getattr(lower, "of_module", False) else lower
    top = {"reads": ["w"], "update": upper or torchopt.adam(0.05), "batches": [UPPER]}
    low = {"reads": ["x"], "update": lower or torchopt.sgd(0.1, momentum=0.9), "batches": [LOWER], "steps": 2}
    x = mlo.Problem("x", validate, torch.zeros(3).double(), **top)
    w = mlo.Problem("w", fit, module, **low, **lower_options)
    return mlo.Engine(mlo.ProblemGraph([x, w]), look_ahead=look_ahead)


def run(engine, steps):
    return [engine.step() for _ in range(steps)]


def assert_same(left, right):
    """Everything that two engines hold, bit for bit, as their checkpoints tell it."""
    one, other = left.snapshot(), right.snapshot()
    for name in left.graph.names:
        for held in ("params", "buffers"):
            mine, theirs = getattr(one, held)[name], getattr(other, held)[name]
            assert list(mine) == list(theirs)
            assert mine.joined is theirs.joined
            assert all(torch.equal(mine[key], theirs[key]) for key in mine), (name, held)
    assert trees_equal(dict(one.states), dict(other.states))
    assert trees_equal(dict(one.adjoints), dict(other.adjoints))
    assert (one.step_count, one.unconverged) == (other.step_count, other.unconverged)


def trees_equal(left, right):
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(trees_equal(left[key], right[key]) for key in left)
    if isinstance(left, tuple | list):
        pairs = zip(left, right, strict=True)
        return type(left) is type(right) and all(trees_equal(mine, theirs) for mine, theirs in pairs)
    return type(left) is type(right) and left == right


def check(make, folder, *, before=3, after=3):
    """Train, save, restore into another engine, and let both go on."""
    whole, resumed = make(), make()
    run(whole, before)
    mlo.save(whole, folder)
    mlo.restore(resumed, folder)
    assert_same(whole, resumed)
    ends = [run(one, after)[-1] for one in (whole, resumed)]
    assert ends[0].losses == ends[1].losses
    assert ends[0].norms == ends[1].norms
    assert_same(whole, resumed)


DATA = torch.tensor([[1.0, 2.0], [0.5, -1.0]]).double()


def small(*, weights=None, name="w", update=None, outer=None, extra=(), module=None, parallel=None, **low):
    """A dict of two tensors (or a module) under an outer vector."""
    weights = {"a": torch.ones(2).double(), "b": torch.zeros(1).double()} if weights is None else weights

    def parts(v):
        return list((v[name] if module is None else v[name].params).values())

    def fit(v, batch):
        return sum(((part - batch.sum()) ** 2).sum() for part in parts(v)) + (v.x**2).sum() * parts(v)[0].sum()

    def validate(v, batch):
        return sum(((part - 1) ** 2).sum() for part in parts(v)) + (v.x**2).sum()

    top = {"reads": [name], "update": outer or torchopt.adam(0.05), "batches": [DATA]}
    low |= {"reads": ["x"], "update": update or torchopt.sgd(0.01, momentum=0.9), "batches": [DATA]}
    x = mlo.Problem("x", validate, torch.ones(2).double(), **top)
    w = mlo.Problem(name, fit, weights if module is None else module, **low)
    return mlo.Engine(mlo.ProblemGraph([x, w, *extra]), parallel=parallel)


def after(steps, parallel=None):
    """A small engine after some steps."""
    made = small(parallel=parallel)
    for _ in range(steps):
        made.step()
    return made


def refused(made, folder, *words):
    """Restore, expect one line that says these words in this order, and find the engine as it was."""
    made.step()
    before = made.snapshot()
    with pytest.raises(mlo.DataError) as caught:
        mlo.restore(made, folder)
    message = str(caught.value)
    assert re.search(".*".join(map(re.escape, words)), message), message
    assert "\n" not in message
    assert message.rpartition(": ")[2]  # a cure
    after = made.snapshot()
    for held in ("params", "buffers", "states", "adjoints"):
        old, new = getattr(before, held), getattr(after, held)
        assert old.keys() == new.keys()
        assert all(old[name] is new[name] for name in old)
    assert after.step_count == 1
