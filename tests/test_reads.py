"""What a loss uses against what its problem declares: each mistake is one named error before the first step is made."""

from __future__ import annotations

import re

import pytest
import torch

import mlo
from mlo.reads import is_checked
from tests.misdeclared import CASES, F64, X, follow, module_case, net_in_the_loss, pair, stages, tensor_case, use_zz


def test_there_are_thirty():
    assert len(CASES) >= 30


@pytest.mark.parametrize("case", CASES)
def test_a_misdeclared_graph_is_a_named_error(case):
    act, culprit, cure = CASES[case]
    with pytest.raises(mlo.GraphError) as caught:
        act()
    message = str(caught.value)
    assert re.search(culprit, message), message
    assert re.search(cure, message), message
    expected = mlo.ReadError if case.startswith(("undeclared", "unused", "missing")) else mlo.GraphError
    assert type(caught.value) is expected


@pytest.mark.parametrize("case", ["undeclared", "unused", "missing: module"])
def test_the_engine_raises_before_it_changes_anything_and_again(case):
    def make():
        if case == "missing: module":
            return module_case(net_in_the_loss)()
        return pair(low=use_zz if case == "undeclared" else lambda v, b: (v.w**2).sum())

    engine = mlo.Engine(make())
    before = str(engine.values)
    for _ in range(2):
        with pytest.raises(mlo.ReadError):
            engine.step()
    assert str(engine.values) == before


def test_only_the_first_call_is_looked_at():
    calls = []

    def now_and_then(v, batch):
        calls.append(1)
        return ((v.w - (v.x if len(calls) == 1 else 1)) ** 2).sum()

    graph = pair(low=now_and_then, steps=3)
    assert not is_checked(graph["w"])
    mlo.hypergradient(graph, of="x")
    assert is_checked(graph["w"])
    assert is_checked(graph["x"])
    assert len(calls) == 3


def test_a_touch_is_a_use():
    def low(v, batch):
        _ = v.x
        return (v.w**2).sum()

    assert mlo.hypergradient(pair(low=low), of="x").tolist() == [1, 1]


def frozen_below():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2, dtype=F64), torch.nn.Linear(2, 1, dtype=F64))
    net[0].requires_grad_(False)

    def low(v, batch):
        return (v.w(X) - net[0](v.x).sum()).pow(2).sum()

    return pair(low=low, top=lambda v, b: v.w(v.x).sum(), w=net)


RIGHT = {
    "a detached copy": tensor_case(lambda x: lambda v, b: ((v.w - v.x) ** 2).sum() + (v.w * x.detach()).sum()),
    "a parameter of nobody": lambda: pair(low=lambda v, b: follow(v, b) + torch.nn.Parameter(X).sum()),
    "frozen parameters": frozen_below,
    "stages of one net": lambda: stages(lambda name, net: lambda v, b: (v[name](X) - v.x.sum()).pow(2).sum(), "ab"),
}


@pytest.mark.parametrize("rule", [mlo.Unroll(), mlo.Unroll(product=mlo.FiniteDifference()), mlo.FirstOrder()], ids=str)
@pytest.mark.parametrize("case", RIGHT)
def test_what_is_right_is_no_error(case, rule):
    graph = RIGHT[case]()
    graph = mlo.ProblemGraph([_replaced(p, rule) if p is not graph.problems[0] else p for p in graph.problems])
    assert bool(torch.isfinite(mlo.hypergradient(graph, of="x")).all())


def _replaced(p, rule):
    return mlo.Problem(
        p.name, p.loss, p.variable, reads=p.reads, update=p.update, steps=p.steps, response=rule, batches=p.batches
    )


def test_what_cannot_be_seen():
    # A declared tensor that requires no gradient leaves no trace where it is used: the promise ends here.
    graph = pair(low=lambda v, b: ((v.w - v.x) ** 2).sum() + (v.w * X).sum(), x=X)
    assert bool(torch.isfinite(mlo.hypergradient(graph, of="x")).all())
