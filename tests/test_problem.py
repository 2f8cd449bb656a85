"""A problem as it is declared. What is refused is in test_bad_input.py."""

from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
import torchopt

import mlo


def loss(v, batch):
    return (v.w**2).sum()


def problem(**how):
    return mlo.Problem("w", loss, torch.ones(2, dtype=torch.float64), **how)


def test_defaults():
    plain = problem()
    assert (plain.reads, plain.update, plain.steps, plain.batches) == ((), None, 1, None)
    assert plain.response == mlo.Unroll(product=mlo.Exact())
    assert plain.rule is None


def test_reads_may_be_any_iterable_of_names():
    for reads in (["a", "b"], ("a", "b"), {"a": 1, "b": 2}, (name for name in "ab")):
        assert problem(reads=reads).reads == ("a", "b")


def test_a_read_declared_twice_counts_once():
    assert problem(reads=["a", "a"]).dependencies == ("a",)


def test_settings_are_by_keyword_only():
    with pytest.raises(TypeError):
        mlo.Problem("w", loss, torch.ones(2), ["x"])


def test_a_problem_does_not_change():
    with pytest.raises(FrozenInstanceError):
        problem().steps = 3


def test_a_problem_is_itself_only():
    # Comparing losses and tensors would be meaningless, and problems must go into sets.
    first, second = problem(), problem()
    assert first != second
    assert len({first, second, first}) == 2


def test_another_problem_by_replacing_a_field():
    changed = replace(problem(steps=2, update=torchopt.sgd(0.1)), name="w@1", steps=5)
    assert (changed.name, changed.steps) == ("w@1", 5)
    assert changed.rule is not None


def test_nothing_that_is_given_is_changed():
    reads, batches = ["x"], [torch.ones(2), torch.zeros(2)]
    x, w = torch.nn.Parameter(torch.ones(2)), {"b": torch.ones(2), "a": torch.zeros(3)}
    net = torch.nn.Linear(2, 1)
    before = copy.deepcopy((reads, batches, list(w), net.state_dict()))
    top = mlo.Problem("x", lambda v, b: (v.w["b"] * v.x).sum() + v.net(v.x), x, reads=["w", "net"])
    low = {"reads": reads, "update": torchopt.sgd(0.1), "batches": batches}
    low = mlo.Problem("w", lambda v, b: ((v.w["b"] - b * v.x) ** 2).sum(), w, **low)
    third = {"update": torchopt.sgd(0.1), "steps": 2, "reads": ["x"]}
    third = mlo.Problem("net", lambda v, b: v.net(v.x) ** 2, net, **third)

    def scalar(function):
        return lambda v, b: function(v, b).sum()

    graph = mlo.ProblemGraph([replace(p, loss=scalar(p.loss)) for p in (top, low, third)])
    mlo.hypergradient(graph, of="x")
    after = (reads, batches, list(w), net.state_dict())
    assert before[0] == after[0]
    assert all(map(torch.equal, before[1], after[1]))
    assert before[2] == after[2]
    assert all(torch.equal(value, after[3][name]) for name, value in before[3].items())
    assert x.requires_grad
    assert x.is_leaf
    assert not any(value.requires_grad for value in w.values())


def test_repr():
    shown = repr(problem(reads=["a", "b"], steps=3))
    assert shown == "Problem('w', reads a, b, 3 steps, Unroll())"
    assert "reads nothing" in repr(problem())


def test_a_problem_without_an_update_is_taken_as_it_stands():
    top = {"reads": ["w"], "update": torchopt.sgd(0.1)}
    top = mlo.Problem("x", lambda v, b: (v.w * v.x).sum(), torch.tensor(3.0, dtype=torch.float64), **top)
    graph = mlo.ProblemGraph([top, problem(steps=0)])
    assert float(mlo.hypergradient(graph, of="x")) == 2.0
    engine = mlo.Engine(graph)
    report = engine.step()
    assert list(report.losses) == ["x"]
    assert engine.values["w"].tolist() == [1.0, 1.0]


def test_no_batches_give_the_loss_none():
    seen = []

    def spy(v, batch):
        seen.append(batch)
        return loss(v, batch)

    mlo.hypergradient(mlo.ProblemGraph([mlo.Problem("w", spy, torch.ones(2))]), of="w")
    mlo.Engine(mlo.ProblemGraph([mlo.Problem("w", spy, torch.ones(2), update=torchopt.sgd(0.1))])).step()
    assert seen == [None, None]


def test_a_batch_is_handed_over_as_it_is():
    batch = object()
    seen = []
    given = mlo.Problem("w", lambda v, b: seen.append(b) or loss(v, b), torch.ones(2), batches=[batch])
    graph = mlo.ProblemGraph([given])
    mlo.hypergradient(graph, of="w")
    mlo.hypergradient(graph, of="w", batches={"w": None})
    assert seen == [batch, None]
