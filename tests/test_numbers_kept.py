"""What is to be kept is looked at, too: values, optimizer states, buffers; and solutions of linear systems."""

import math

import pytest
import torch
import torchopt
from torch import nn

import mlo
from tests.failing import fails

F64 = torch.float64
X = torch.linspace(-1, 1, 12, dtype=F64).reshape(4, 3)
SGD = torchopt.sgd(0.1)


@pytest.mark.parametrize("look_ahead", [False, True])
def test_the_outermost_value_after_its_update(look_ahead):
    start = torch.ones(3, dtype=F64)
    w = mlo.Problem("w", lambda v, _: ((v.w - v.a) ** 2).sum(), start, reads=["a"], update=SGD)
    update = torchopt.sgd(1e308)
    a = mlo.Problem("a", lambda v, _: 1e9 * (v.w**2).sum(), start, reads=["w"], update=update)
    fails(
        mlo.Engine(mlo.ProblemGraph([a, w]), look_ahead=look_ahead),
        "'a': 'value' is not finite after its update",
        step=1,
    )


def test_the_state_of_an_optimizer_whose_value_stays_finite():
    # The square of the gradient overflows, and what is divided by its root is zero: Adam would rest for ever.
    def huge(v, b):
        return (1e160 * (v.w + v.a)).sum()

    adam = torchopt.adam(0.1)
    start = torch.zeros(3, dtype=F64)
    w = mlo.Problem("w", huge, start, reads=["a"], update=adam)
    top = mlo.Problem(
        "a", lambda v, b: ((v.a + v.w) ** 2).sum(), start, reads=["w"], update=SGD, response=mlo.FirstOrder()
    )
    fails(mlo.Engine(mlo.ProblemGraph([top, w])), "problem 'w': the state of its optimizer is not finite", step=1)
    top = mlo.Problem("a", huge, start, reads=["w"], update=adam)
    w = mlo.Problem("w", lambda v, b: (v.w**2).sum() + (v.a * v.w).sum(), start, reads=["a"], update=SGD)
    fails(mlo.Engine(mlo.ProblemGraph([top, w])), "problem 'a': the state of its optimizer is not finite", step=1)


@pytest.mark.parametrize("trained", ["w", "a"])
def test_running_statistics_of_an_output_that_the_loss_does_not_read(trained):
    """The second half of a batch is normalized, too, and its output is not used."""

    def loss(v, b):
        net = v[trained]
        net(b[1])
        other = "a" if trained == "w" else "w"
        return net(b[0]).square().mean() + ((v[other] ** 2).sum() if other == "a" or trained == "a" else 0)

    bad = X.clone()
    bad[1, 1] = math.nan
    net = nn.Sequential(nn.BatchNorm1d(3, dtype=F64), nn.Linear(3, 1, dtype=F64))
    start = torch.ones(2, dtype=F64)
    batches = [(X, X), (X, bad)]
    own = {"update": SGD, "batches": batches}
    if trained == "w":
        low = mlo.Problem("w", loss, net, reads=["a"], **own)
        read = lambda v, _: (v.a**2).sum() + v.w.params["1.bias"].sum()  # noqa: E731
        top = mlo.Problem("a", read, start, reads=["w"], update=SGD)
    else:
        low = mlo.Problem("w", lambda v, _: (v.w**2).sum(), start, update=SGD)
        top = mlo.Problem("a", loss, net, reads=["w"], **own)
    engine = mlo.Engine(mlo.ProblemGraph([top, low]))
    engine.step()
    fails(
        engine,
        rf"problem '{trained}': buffer '0.running_mean' .* is not finite.*its batch holds NaN \(entry 1; in 1 of",
    )
    assert engine.step().step == 2


def test_a_buffer_that_begins_infinite_is_none_of_it():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, dtype=F64))
            self.register_buffer("mask", torch.tensor([0.0, -math.inf, 0.0], dtype=F64))

        def forward(self, x):
            return ((x * self.weight + self.mask).softmax(1) * x).sum(1)

    w = mlo.Problem("w", lambda v, b: v.w(b).square().mean(), Masked(), update=SGD, batches=[X])
    top = mlo.Problem("a", lambda v, b: (v.w(b) ** 2).mean() + v.a**2, torch.tensor(1.0, dtype=F64), reads=["w"])
    top = mlo.Problem("a", top.loss, torch.tensor(1.0, dtype=F64), reads=["w"], update=SGD, batches=[X])
    assert mlo.Engine(mlo.ProblemGraph([top, w])).step().step == 1


@pytest.mark.parametrize("solver", [mlo.CG(), mlo.GMRES(), mlo.Neumann(), mlo.Dense()])
def test_a_linear_solve(solver):
    """The curvature of the lower loss is infinite at its minimum, where loss and gradient are finite."""

    def lower(v, b):
        return ((v.w - v.a).abs() ** 1.5).sum()

    start = torch.zeros(3, dtype=F64)
    w = mlo.Problem("w", lower, start, reads=["a"], update=SGD, response=mlo.Implicit(solver))
    top = mlo.Problem("a", lambda v, b: ((v.w - 1) ** 2).sum(), start, reads=["w"], update=SGD)
    with pytest.raises(mlo.DivergenceError, match=r"problem 'w': the adjoint solve|the hypergradient of problem 'a'"):
        mlo.hypergradient(mlo.ProblemGraph([top, w]), of="a")
    fails(mlo.Engine(mlo.ProblemGraph([top, w])), r"'w': the adjoint solve|hypergradient of problem 'a'", step=1)


def test_what_a_single_loop_keeps_though_it_answers_with_what_was_before():
    update = torchopt.sgd(1e308)
    start = torch.ones(3, dtype=F64)
    rule = mlo.SingleLoop(0.1)
    w = mlo.Problem("w", lambda v, _: 1e3 * ((v.w + v.a) ** 2).sum(), start, reads=["a"], update=update, response=rule)
    a = mlo.Problem("a", lambda v, _: (v.w**2).sum(), start, reads=["w"], update=SGD)
    fails(mlo.Engine(mlo.ProblemGraph([a, w])), "problem 'w': 'value' is not finite after its update", step=1)
