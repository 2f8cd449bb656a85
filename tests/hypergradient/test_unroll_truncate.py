"""Truncated unrolling: the last steps are differentiated, from a constant. Tolerances as in test_unroll.py."""

import pytest
import torch
import torchopt
from hypothesis import given
from hypothesis import strategies as st

import mlo
from mlo.gradient import make_context
from mlo.solve import solve
from tests.hypergradient.test_unroll import F64, OPTIMIZERS, graph, inner, outer, randn, relative, start

STEPS = st.integers(1, 8)
NAMES = ["sgd", "momentum", "nesterov", "adam", "rmsprop", "active clipping"]


def by_hand(step, steps, truncate):
    """Differentiate a loop in which variable and memory become constants before the last `truncate` steps."""
    z, w, memory = randn(3, seed=0).requires_grad_(), start(), {"a": {}, "b": {}}
    for t in range(1, steps + 1):
        if t == steps - truncate + 1 or t == 1:
            w = {key: value.detach().requires_grad_() for key, value in w.items()}
            memory = {key: {k: torch.as_tensor(m).detach() for k, m in kept.items()} for key, kept in memory.items()}
        g = dict(zip(w, torch.autograd.grad(inner(w, z), list(w.values()), create_graph=True), strict=True))
        if hasattr(step, "whole"):
            g = step.whole(g)
        w = {key: step(t, w[key], g[key], memory[key]) for key in w}
    return torch.autograd.grad(outer(w, z), z)[0]


@given(steps=STEPS, truncate=STEPS, name=st.sampled_from(NAMES))
def test_equals_a_loop_cut_by_hand(steps, truncate, name):
    make, step = OPTIMIZERS[name]
    found = mlo.hypergradient(graph(make(), steps, truncate=truncate), of="z")
    assert relative(found, by_hand(step, steps, truncate)) <= 1e-10


@pytest.mark.parametrize("truncate", [5, 6, 10**9])
def test_as_many_as_there_are_is_all_of_them(truncate):
    make, _ = OPTIMIZERS["momentum"]
    found, truth = (mlo.hypergradient(graph(make(), 5, truncate=k), of="z") for k in (truncate, None))
    assert torch.equal(found, truth)


def quadratic(truncate, steps=30, rate=0.3):
    """min_z w*(z) with f = (w - z)^2 / 2: each step contracts by 1 - rate, and dw_T/dz = 1 - (1 - rate)^T."""
    top = mlo.Problem("z", lambda v, _: v.w.sum(), torch.ones(1, dtype=F64), reads=["w"], update=torchopt.sgd(0.1))
    rule = mlo.Unroll(truncate=truncate)
    low = mlo.Problem(
        "w",
        lambda v, _: 0.5 * ((v.w - v.z) ** 2).sum(),
        torch.zeros(1, dtype=F64),
        reads=["z"],
        update=torchopt.sgd(rate),
        steps=steps,
        response=rule,
    )
    return mlo.ProblemGraph([top, low])


def test_the_bias_shrinks_as_the_contraction_says():
    # What k steps leave out is (1 - rate)^k - (1 - rate)^T, exactly.
    whole = float(mlo.hypergradient(quadratic(None), of="z"))
    for k in (1, 2, 5, 10, 20, 30):
        lost = whole - float(mlo.hypergradient(quadratic(k), of="z"))
        assert lost == pytest.approx(0.7**k - 0.7**30, abs=1e-14)


def test_the_checker_sees_the_bias():
    with pytest.raises(mlo.HypergradientMismatch, match="'w'"):
        mlo.testing.check_hypergradient(quadratic(5), of="z")
    mlo.testing.check_hypergradient(quadratic(30), of="z")


@pytest.mark.parametrize("memory", [mlo.Record(), mlo.Recompute(), mlo.Forward()], ids=str)
def test_inside_an_exact_product_the_cut_stays_a_cut(memory):
    # z over x over y: the middle problem's gradient goes through the last two of y's four steps, and so does what is
    # differentiated of it.
    z, x, y = randn(2, seed=0), randn(2, seed=1), randn(2, seed=2)

    def low(y, x, z):
        return torch.cosh(y - x).sum() + (y * y * z).sum() * 0.2

    def middle(x, y, z):
        return (x * y).sum() + torch.cosh(x - z).sum()

    def top(x, y, z):
        return (x * y * z).sum() + (y**2).sum()

    def answer(x, z):
        at = y
        for t in range(4):
            at = at.detach().requires_grad_() if t <= 2 else at
            at = at - 0.1 * torch.autograd.grad(low(at, x, z), at, create_graph=True)[0]
        return at

    leaf = z.clone().requires_grad_()
    at = x.clone().requires_grad_()
    for _ in range(3):
        at = at - 0.1 * torch.autograd.grad(middle(at, answer(at, leaf), leaf), at, create_graph=True)[0]
    (truth,) = torch.autograd.grad(top(at, answer(at, leaf), leaf), leaf)

    update = torchopt.sgd(0.1)
    rule = mlo.Unroll(truncate=2, memory=memory)
    problems = [
        mlo.Problem("z", lambda v, _: top(v.x, v.y, v.z), z, reads=["x", "y"], update=update),
        mlo.Problem("x", lambda v, _: middle(v.x, v.y, v.z), x, reads=["y", "z"], update=update, steps=3),
        mlo.Problem("y", lambda v, _: low(v.y, v.x, v.z), y, reads=["x", "z"], update=update, steps=4, response=rule),
    ]
    assert relative(mlo.hypergradient(mlo.ProblemGraph(problems), of="z"), truth) <= 1e-10


def test_the_answer_is_the_same():
    make, _ = OPTIMIZERS["adam"]
    reports, values = [], []
    for truncate in (None, 1, 3):
        engine = mlo.Engine(graph(make(), 5, truncate=truncate))
        reports.append(engine.step())
        values.append(engine.values["w"])
    for report, value in zip(reports[1:], values[1:], strict=True):
        # The same operations without a graph: at most the last bits differ.
        assert report.losses["w"] == pytest.approx(reports[0].losses["w"], rel=1e-14)
        assert report.gradients == reports[0].gradients
        assert all(relative(value[key], values[0][key]) <= 1e-14 for key in value)


def test_a_loss_before_the_cut_is_in_the_trace():
    make, _ = OPTIMIZERS["sgd"]
    traces = [solve(make_context(graph(make(), 5, truncate=k), {}, {}), "w")[1] for k in (None, 2)]
    assert [len(trace.losses) for trace in traces] == [5, 5]
    torch.testing.assert_close(*(torch.stack(trace.losses) for trace in traces), rtol=1e-14, atol=0)


@pytest.mark.parametrize("truncate", [0, -3, 1.0, True, "2"])
def test_truncate_is_a_number_of_steps(truncate):
    with pytest.raises(mlo.ConfigError, match="truncate"):
        mlo.Unroll(truncate=truncate)
