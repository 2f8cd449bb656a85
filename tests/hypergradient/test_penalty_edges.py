"""The penalty rule at its edges: random losses, proximal terms, one side alone, a cotangent of zero.

Losses are quadratic in the answer, so that the two-sided form has no error but rounding (1e-16 * weight) and the
residual of the pushed solves (1e-10): 1e-7 has room.
"""

import pytest
import torch
import torchopt

import mlo
from mlo.rng import preserved
from tests.hypergradient.test_penalty import graph, penalty

F64 = torch.float64
X = torch.tensor([3.0, 1.0, -2.0, 0.5, 1.5, -1.0, 2.0, 0.7], dtype=F64)


def push(name):
    return lambda v, _: ((v[name] - 1) ** 2).sum()


def test_both_pushed_solves_and_both_gradients_see_one_dropout_mask():
    def noisy(v, batch):
        return 0.5 * (v.w**2).sum() - (v.w * torch.nn.functional.dropout(v.x, 0.5)).sum()

    def found(rule):
        low = mlo.Problem("w", noisy, torch.ones(8, dtype=F64), reads=["x"], update=torchopt.sgd(0.3), steps=3,
                          response=rule)  # fmt: skip
        top = mlo.Problem("x", push("w"), X, reads=["w"])
        with preserved():
            torch.manual_seed(0)
            return mlo.hypergradient(mlo.ProblemGraph([top, low]), of="x")

    expected = found(mlo.Implicit(mlo.Dense()))
    assert 0 < int((expected == 0).sum()) < 8  # what the mask left out
    torch.testing.assert_close(found(penalty(1e2)), expected, rtol=1e-7, atol=1e-7)


class Counts(torch.nn.Module):
    """A module whose output depends on how often it was called."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(8, dtype=F64))
        self.register_buffer("calls", torch.tensor(0.0, dtype=F64))

    def forward(self, x):
        self.calls = self.calls + 1
        return self.weight - self.calls * x


def test_a_pushed_solve_keeps_the_buffers_of_the_answer():
    def found(rule):
        low = mlo.Problem("net", lambda v, _: (v.net(v.x) ** 2).sum() / 2, Counts(), reads=["x"],
                          update=torchopt.sgd(0.3), steps=3, response=rule)  # fmt: skip
        top = mlo.Problem("x", lambda v, _: ((v.net.params["weight"] - 1) ** 2).sum(), X, reads=["net"])
        return mlo.hypergradient(mlo.ProblemGraph([top, low]), of="x")

    torch.testing.assert_close(found(penalty(1e2)), found(mlo.Implicit(mlo.Dense())), rtol=1e-7, atol=1e-7)


def test_under_a_proximal_term_it_equals_implicit_differentiation():
    # The second stage rests where loss and term balance, and reads the first through the term alone.
    def learner(name, weight, rule):
        loss = lambda v, _: (weight * (v[name] - v.x) ** 2).sum()  # noqa: E731
        return mlo.Problem(name, loss, 0 * X, reads=["x"], update=torchopt.sgd(0.1), steps=200, response=rule)

    def found(rule):
        learners = [learner("a", 1.0, rule), learner("b", 2.0, rule)]
        stages = mlo.interleave(learners, rounds=1, proximal=mlo.Proximal(1.0, step_size=0.1), shared="")
        top = mlo.Problem("x", push("b@1"), X, reads=["b@1"])
        return mlo.hypergradient(mlo.ProblemGraph([top, *stages]), of="x")

    torch.testing.assert_close(found(penalty(1e2)), found(mlo.Implicit(mlo.Dense())), rtol=1e-7, atol=1e-7)


def test_the_side_that_did_not_converge_is_the_one_that_counts():
    # The side that is not pushed stands at rest from the start.
    with pytest.warns(mlo.UnconvergedWarning, match="problem 'w'"):
        solve = mlo.Engine(graph(mlo.Penalty(1e3, steps=1, two_sided=False))).step().solves["w"]
    assert not solve.converged
    assert solve.residual > 0.1


def test_without_a_cotangent_there_is_nothing_to_push():
    found = mlo.hypergradient(graph(penalty(1e3), upper=lambda v, _: (v.x**2).sum() + 0 * v.w.sum()), of="x")
    torch.testing.assert_close(found, torch.tensor([0.6, 1.6], dtype=F64), rtol=1e-14, atol=0)


def test_a_cotangent_that_is_not_finite_is_blamed_on_the_loss_that_made_it():
    def kinked(v, batch):
        return (v.w - v.w.detach()).abs().sqrt().sum() + (v.x**2).sum()

    with pytest.raises(mlo.DivergenceError, match="a loss that reads 'w' is not finite, or its gradient there"):
        mlo.hypergradient(graph(penalty(1e3), upper=kinked), of="x")


def test_it_is_itself_a_difference():
    # What takes finite differences above it chooses their length by this.
    assert [penalty(1e2).differences(below) for below in (0, 1)] == [1, 2]


def test_an_update_that_rests_elsewhere_is_refused():
    with pytest.raises(mlo.GraphError, match="'w' cannot respond by Penalty: its update decays weights"):
        graph(penalty(1e2), update=torchopt.sgd(0.1, weight_decay=0.1))
