"""Mistakes in one's own losses, rules and solvers: what is told points at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torchopt

import mlo
import mlo.testing
from mlo.extend import AbstractLinearSolver, AbstractResponse, Pullback, run

ONE = torch.ones(2, dtype=torch.float64)


def follow(v, batch):
    return ((v.w - v.x) ** 2).sum() + 0.1 * (v.w**4).sum()


def graph(loss=follow, one=ONE, *, batches=None, **how):
    top = mlo.Problem("x", lambda v, _: (v.w**2).sum(), one, reads=["w"], update=torchopt.sgd(0.1))
    low = {"reads": ["x"], "update": torchopt.sgd(0.1), "steps": 2, "batches": batches}
    return mlo.ProblemGraph([top, mlo.Problem("w", loss, 0 * one, **low, **how)])


def unpacks(v, batch):
    x, y = batch
    return follow(v, batch) * x.mean() * y.mean()


X, Y = torch.ones(5, 3), torch.ones(5).long()
BATCHES = {
    "a tuple in place of a list of one": ((X, Y), r"float32 of shape \(5, 3\)"),
    "one item too many": ([(X, Y, Y)], r"tuple of 3 \(float32 of shape \(5, 3\); int64 .*; int64 of shape \(5,\)\)"),
    "a long list": ([[Y] * 9], r"list of 9 \((int64 of shape \(5,\); ){4}\.\.\.\)"),
    "a dict": ([{"x": X, "y": Y, "z": Y}], "dict of 'x', 'y', 'z'"),
    "none": (None, "None"),
    "another thing": ([3], "int"),
}


@pytest.mark.parametrize("case", BATCHES)
def test_an_error_in_a_loss_is_told_with_the_problem_and_its_batch(case):
    batches, told = BATCHES[case]
    for call in (lambda g: mlo.hypergradient(g, of="x"), lambda g: mlo.Engine(g).step()):
        with pytest.raises((ValueError, TypeError)) as caught:
            call(graph(unpacks, batches=batches))
        assert caught.match("unpack")  # as it is
        with pytest.raises(AssertionError, match=f"raised in the loss of problem 'w'; its batch: {told}"):
            raise AssertionError(*caught.value.__notes__)


def test_a_list_that_begins_with_the_innermost_problem_is_told_so():
    x, w = graph().problems
    with pytest.raises(mlo.LossError, match=r"'x' does not depend on 'x'.*takes 'w' for constant.*outermost first"):
        mlo.hypergradient(mlo.ProblemGraph([w, x]), of="w")


@dataclass(frozen=True)
class Solver(AbstractLinearSolver):
    found: Any

    def solve(self, matvec, b, *, start=None):
        return self.found


@dataclass(frozen=True)
class Rule(AbstractResponse):
    trace: bool
    back: Any = None

    def respond(self, node, *, differentiable):
        return run(node) if self.trace else run(node).answer

    def pullback(self, node, trace, cotangent, wanted, *, differentiable):
        return self.back


SHORT = mlo.LinearSolution(torch.ones(1).double(), 0.0, 1, True, 1.0)
HANDED = {
    "no solution": (
        mlo.Implicit(Solver(None)),
        "Solver.solve: must return an instance of LinearSolution, got NoneType",
    ),
    "a solution's value": (mlo.Implicit(Solver(ONE)), "Solver.solve: must return .*LinearSolution, got Tensor"),
    "another shape": (mlo.Implicit(Solver(SHORT)), r"Solver.solve was given b \(2,\), got x \(1,\): return x of the"),
    "no trace": (Rule(trace=False), "Rule.respond: must return an instance of Trace, got Flat"),
    "no pullback": (Rule(trace=True), "Rule.pullback: must return an instance of Pullback, got NoneType"),
    "a tensor as part": (
        Rule(trace=True, back=Pullback({"x": ONE})),
        "Rule.pullback: the part for 'x' must be a dict .* got Tensor",
    ),
}


@pytest.mark.parametrize("case", HANDED)
@pytest.mark.parametrize("take", [mlo.hypergradient, mlo.testing.check_hypergradient])
def test_what_a_rule_or_a_solver_of_ones_own_hands_back(case, take):
    rule, told = HANDED[case]
    with pytest.raises(mlo.ConfigError, match=f"problem 'w': {told}"):
        take(graph(response=rule), of="x")


def test_a_check_of_a_loss_with_a_memory_says_so():
    own = torch.Generator().manual_seed(0)

    def noisy(v, batch):
        return follow(v, batch) + (v.w * torch.randn(2, generator=own, dtype=torch.float64)).sum()

    with pytest.raises(mlo.HypergradientMismatch, match=r"solved once more .* generator of its own"):
        mlo.testing.check_hypergradient(graph(noisy), of="x")


def test_a_check_in_float32_doubts_itself():
    def cut(v, batch):
        return ((v.w - v.x.detach()) ** 2).sum() + 0.0 * v.x.sum()

    with pytest.raises(mlo.HypergradientMismatch, match=r"look for .detach.*; in float32 .* check a float64 copy"):
        mlo.testing.check_hypergradient(graph(cut, ONE.float()), of="x")
    with pytest.raises(mlo.HypergradientMismatch, match=r"look for .detach\(\), .item\(\) or .data in its loss$"):
        mlo.testing.check_hypergradient(graph(cut), of="x")


def test_a_kink_that_a_difference_crosses_is_thought_of():
    def bent(v, batch):  # |x| turns at 1e-9 from where it is looked at: the difference is of both sides
        return follow(v, batch) + 1e-3 * (v.w * (v.x - (1 + 1e-9)).relu()).sum()

    with pytest.raises(mlo.HypergradientMismatch, match="differ by less than 1 %: a kink"):
        mlo.testing.check_hypergradient(graph(bent), of="x")


def nested(cut=lambda value: value):
    """x above m, in whose steps w is solved; w reads x by `cut`."""
    sgd, half = torchopt.sgd(0.2), ONE / 2
    return mlo.ProblemGraph([
        mlo.Problem("x", lambda v, _: (v.w**2).sum(), ONE, reads=["w"], update=sgd),
        mlo.Problem("m", lambda v, _: ((v.w - 1) ** 2).sum() + (v.m**2).sum(), half, reads=["w"], update=sgd, steps=2),
        mlo.Problem("w", lambda v, _: ((v.w - cut(v.x) * v.m) ** 2).sum(), ONE, reads=["x", "m"], update=sgd, steps=2),
    ])  # fmt: skip


def test_an_answer_is_not_blamed_for_what_is_wrong_inside_its_steps():
    mlo.testing.check_hypergradient(nested(), of="x")
    with pytest.raises(mlo.HypergradientMismatch, match=r"wrong: 'w' reads 'x', and .*look for \.detach") as caught:
        mlo.testing.check_hypergradient(nested(lambda x: x.detach()), of="x")
    assert "'m' reads 'w'" not in str(caught.value)


def test_no_rule_is_recommended_where_nothing_responds(capsys):
    advice = mlo.advise(nested(), of="w", rounds=1)
    assert [row.rule for row in advice.rows] == ["as declared"]
    assert "none is needed: no answer responds" in capsys.readouterr().out


def test_a_hypergradient_of_zero_has_no_cosine_in_the_table():
    advice = mlo.advise(graph(), of="x", candidates=[mlo.FirstOrder()], rounds=1)
    row = next(line for line in str(advice).splitlines() if line.startswith("FirstOrder()"))
    assert row.split()[-2:] == ["-", "1.0e+00"]


def test_declarations_of_the_wrong_kind_say_what_is_wanted():
    dataset = torch.utils.data.TensorDataset(X, Y)
    with pytest.raises(mlo.GraphError, match=r"batches must be a list of batches, a DataLoader .* got TensorDataset"):
        mlo.Problem("w", follow, ONE, batches=dataset)
    with pytest.raises(mlo.GraphError, match="int64; only floats can be trained: convert it"):
        mlo.Problem("w", follow, torch.zeros(2, dtype=torch.int64))
    learner = mlo.Problem("w", follow, {"encoder": ONE, "head": ONE}, update=torchopt.sgd(0.1))
    with pytest.raises(mlo.GraphError, match=r"no parameter that begins with 'body': give one of encoder, head$"):
        mlo.interleave([learner], rounds=1, proximal=mlo.Proximal(1.0, step_size=0.1), shared="body")
