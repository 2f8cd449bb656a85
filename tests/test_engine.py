"""The engine against loops written by hand: order of the steps, what is kept, what is reported, and what fails."""

from __future__ import annotations

import contextlib
import math
from types import GeneratorType

import pytest
import torch
import torchopt
from torch.utils.data import DataLoader

import mlo

MOMENTUM, ETA, XI = 0.9, 0.1, 0.05
LOWER = [torch.tensor([1.0, 2.0]).double(), torch.tensor([0.5, -1.0]).double(), torch.tensor([3.0, 0.0]).double()]
UPPER = [torch.tensor([0.3, -0.2]).double(), torch.tensor([1.0, 1.0]).double()]


def fit(w, x, batch):
    return (torch.cosh(w - batch).log() + x.exp() * w**2).sum()


def validate(w, x, batch):
    return ((w - batch) ** 2).sum() + 0.1 * (x**2).sum()


def bilevel(*, steps=1, rule=None, lower=LOWER, fit=fit, validate=validate):
    x, w = torch.zeros(2).double(), torch.ones(2).double()
    top = {"reads": ["w"], "update": torchopt.sgd(XI, momentum=MOMENTUM), "batches": UPPER}
    low = {"reads": ["x"], "update": torchopt.sgd(ETA, momentum=MOMENTUM), "batches": lower, "steps": steps}
    return mlo.ProblemGraph(
        [
            mlo.Problem("x", lambda v, batch: validate(v.w, v.x, batch), x, **top),
            mlo.Problem("w", lambda v, batch: fit(v.w, v.x, batch), w, response=rule or mlo.Unroll(), **low),
        ]
    )


def train(w, buffer, x, batch, steps, *, graph):
    """`steps` updates of SGD with momentum."""
    for _ in range(steps):
        w = w if w.requires_grad else w.requires_grad_()
        (g,) = torch.autograd.grad(fit(w, x, batch), w, create_graph=graph)
        buffer = MOMENTUM * buffer + g
        w = w - ETA * buffer
    return (w, buffer) if graph else (w.detach(), buffer.detach())


def loop(rounds, steps, *, look_ahead):
    """Algorithm 1 of DARTS (look_ahead), or the same with the virtual answer kept."""
    x, w = torch.zeros(2).double(), torch.ones(2).double()
    x_buffer, w_buffer = torch.zeros(2).double(), torch.zeros(2).double()
    for i in range(rounds):
        train_batch, valid_batch = LOWER[i % len(LOWER)], UPPER[i % len(UPPER)]
        x.requires_grad_()
        virtual, virtual_buffer = train(w.detach(), w_buffer, x, train_batch, steps, graph=True)
        (g,) = torch.autograd.grad(validate(virtual, x, valid_batch), x)
        x_buffer = MOMENTUM * x_buffer + g
        x = (x - XI * x_buffer).detach()
        if look_ahead:
            w, w_buffer = train(w.detach(), w_buffer, x, train_batch, steps, graph=False)
        else:
            w, w_buffer = virtual.detach(), virtual_buffer.detach()
    return x, w


@pytest.mark.parametrize("look_ahead", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_same_as_a_loop_written_by_hand(steps, look_ahead):
    engine = mlo.Engine(bilevel(steps=steps), look_ahead=look_ahead)
    for _ in engine.run(5):
        pass
    x, w = loop(5, steps, look_ahead=look_ahead)
    # The same arithmetic in another order: rounding only.
    torch.testing.assert_close(engine.values["x"], x, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(engine.values["w"], w, rtol=1e-12, atol=1e-14)


def test_the_first_step_takes_the_hypergradient():
    graph = bilevel(steps=2)
    expected = mlo.hypergradient(graph, of="x")
    engine = mlo.Engine(graph)
    report = engine.step()
    assert report.norms["x"] == float(torch.linalg.vector_norm(expected))
    torch.testing.assert_close(engine.values["x"], -XI * expected, rtol=1e-12, atol=0)


GRADIENTS = [
    (mlo.Unroll(), False, 3 + 1),
    (mlo.Unroll(), True, 3 + 1 + 3),
    (mlo.Unroll(product=mlo.FiniteDifference()), False, 3 + 1 + 2 * 3),
    (mlo.Implicit(mlo.Neumann(max_steps=4, step_size=0.01)), False, 3 + 1 + 1),
    (mlo.FirstOrder(), False, 3 + 1),
]


@pytest.mark.filterwarnings("ignore::mlo.UnconvergedWarning")  # four terms are few on purpose
@pytest.mark.parametrize(("rule", "look_ahead", "count"), GRADIENTS)
def test_a_report_counts_gradients(rule, look_ahead, count):
    assert mlo.Engine(bilevel(steps=3, rule=rule), look_ahead=look_ahead).step().gradients == count


def test_a_report_of_losses_and_norms():
    report = mlo.Engine(bilevel()).step()
    x, w = torch.zeros(2).double(), torch.ones(2).double().requires_grad_()
    loss = fit(w, x, LOWER[0])
    (g,) = torch.autograd.grad(loss, w)
    assert report.step == 1
    assert report.losses["w"] == pytest.approx(loss.item(), rel=1e-14)
    assert report.norms["w"] == pytest.approx(float(torch.linalg.vector_norm(g)), rel=1e-14)
    answer = (w - ETA * g).detach()
    assert report.losses["x"] == pytest.approx(float(validate(answer, x, UPPER[0])), rel=1e-14)
    assert report.solves == {}


@pytest.mark.parametrize(("terms", "converged"), [(1, False), (50, True)])
def test_a_report_of_the_linear_solve(terms, converged):
    engine = mlo.Engine(bilevel(rule=mlo.Implicit(mlo.CG(max_steps=terms, tol=1e-8))))
    with contextlib.nullcontext() if converged else pytest.warns(mlo.UnconvergedWarning, match="problem 'w'.*residual"):
        solve = engine.step().solves["w"]
    assert solve.converged is converged
    assert (solve.residual <= 1e-8) is converged
    assert 1 <= solve.iterations <= 2  # two entries
    assert solve.curvature > 0


def test_run_is_lazy():
    engine = mlo.Engine(bilevel())
    reports = engine.run(3)
    assert isinstance(reports, GeneratorType)
    assert engine.step_count == 0
    assert next(reports).step == 1
    assert engine.step_count == 1
    assert [report.step for report in reports] == [2, 3]
    assert [report.step for report in engine.run(1)] == [4]
    assert list(engine.run(0)) == []


def test_batches_begin_anew_at_each_epoch():
    seen = []

    def spy(w, x, batch):
        seen.append(batch.tolist())
        return fit(w, x, batch.sum())

    rows = torch.arange(6.0).double()
    for _ in mlo.Engine(bilevel(lower=DataLoader(rows, batch_size=2, shuffle=True), fit=spy)).run(6):
        pass
    for epoch in (seen[:3], seen[3:]):
        assert sorted(row for batch in epoch for row in batch) == rows.tolist()
    assert seen[:3] != seen[3:]


def test_two_engines_on_one_graph_do_not_see_each_other():
    graph = bilevel(steps=2)
    first, second = mlo.Engine(graph), mlo.Engine(graph, look_ahead=True)
    for _ in range(4):
        first.step(), second.step()
    for engine, look_ahead in ((first, False), (second, True)):
        x, w = loop(4, 2, look_ahead=look_ahead)
        torch.testing.assert_close(engine.values["x"], x, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(engine.values["w"], w, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("look_ahead", [False, True])
@pytest.mark.parametrize("where", ["fit", "validate"])
@pytest.mark.parametrize("how", ["raise", "nan"])
def test_a_step_that_fails_changes_nothing_but_the_place_in_the_batches(how, where, look_ahead):
    losses = {"fit": fit, "validate": validate}

    def failing(w, x, batch):
        if armed and how == "raise":
            raise ValueError("out of order")
        return losses[where](w, x, batch) * (math.nan if armed else 1.0)

    armed = []
    # One batch each, as a failed step uses its batches up.
    engine = mlo.Engine(bilevel(lower=LOWER[:1], **{where: failing}), look_ahead=look_ahead)
    reference = mlo.Engine(bilevel(lower=LOWER[:1]), look_ahead=look_ahead)
    engine.step(), reference.step()
    armed.append(True)
    for _ in range(2):  # twice, as there are two upper batches
        with pytest.raises(ValueError if how == "raise" else mlo.DivergenceError):
            engine.step()
    armed.clear()
    engine.step(), reference.step()  # equal only if the momentum is as before, too
    assert engine.step_count == 2
    assert all(torch.equal(engine.values[name], reference.values[name]) for name in ("x", "w"))


def test_a_failed_real_step_after_a_good_look_ahead_changes_nothing():
    calls = []

    def failing(w, x, batch):
        calls.append(1)
        return fit(w, x, batch) * (math.nan if len(calls) == 4 else 1.0)

    engine = mlo.Engine(bilevel(lower=LOWER[:1], fit=failing), look_ahead=True)
    engine.step()
    before = {name: value.clone() for name, value in engine.values.items()}
    with pytest.raises(mlo.DivergenceError, match="'w' is nan"):
        engine.step()
    assert all(torch.equal(value, before[name]) for name, value in engine.values.items())
