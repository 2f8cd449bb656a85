"""A solve that stops once its gradient is small: the same hypergradient, fewer gradients, and a refusal elsewhere."""

import pytest
import torch
import torchopt

import mlo

F64 = torch.float64
START = torch.tensor([4.0, -2.0], dtype=F64)


def lower(v, batch):
    return ((v.w - v.x) ** 2).sum() / 2 + (v.w**4).sum() / 8


def upper(v, batch):
    return ((v.w - 1) ** 2).sum()


def graph(tolerance, *, steps=400, response=None, **more):
    low = {"update": torchopt.sgd(0.1), "response": response or mlo.Implicit(), "tolerance": tolerance, **more}
    top = mlo.Problem("x", upper, torch.tensor([0.5, 2.0], dtype=F64), reads=["w"], update=torchopt.sgd(0.1))
    return mlo.ProblemGraph([top, mlo.Problem("w", lower, START, reads=["x"], steps=steps, **low)])


def test_it_stops_at_the_first_gradient_within_the_tolerance():
    w, x, made = START.clone(), torch.tensor([0.5, 2.0], dtype=F64), 0
    while float((w - x + w**3 / 2).norm()) > 1e-3:
        w, made = w - 0.1 * (w - x + w**3 / 2), made + 1
    engine = mlo.Engine(graph(1e-3))
    report = engine.step()
    assert report.steps == {"w": made}
    assert 0 < made < 100
    torch.testing.assert_close(engine.values["w"], w, rtol=1e-14, atol=0)
    assert report.norms["w"] <= 1e-3
    assert report.gradients == (made + 1) + 1 + 1  # one more to see that it is small; the objective's; the response's


def test_without_a_tolerance_every_step_is_made():
    report = mlo.Engine(graph(0.0, steps=30)).step()
    assert report.steps == {"w": 30}


@pytest.mark.parametrize("rule", [mlo.Implicit(), mlo.FixedPoint(), mlo.Penalty(1e3)], ids=["rest", "fixed", "push"])
def test_the_hypergradient_is_the_same_to_the_tolerance(rule):
    # The answer is off by tolerance / curvature (>= 1), the hypergradient by a moderate multiple of that.
    early, late = (mlo.hypergradient(graph(t, response=rule), of="x") for t in (1e-9, 0.0))
    torch.testing.assert_close(early, late, rtol=1e-6, atol=1e-7)


def test_a_solve_that_is_at_rest_makes_no_step_and_still_responds():
    rest = mlo.Engine(graph(1e-10))
    rest.step()
    values = {"x": torch.tensor([0.5, 2.0], dtype=F64), "w": rest.values["w"]}
    assert float(mlo.hypergradient(graph(1e-8), of="x", values=values).norm()) > 0.1
    low = {"update": torchopt.sgd(0.1), "steps": 400, "tolerance": 1e-8, "response": mlo.Implicit()}
    settled = mlo.Problem("w", lower, values["w"], reads=["x"], **low)
    report = mlo.Engine(mlo.ProblemGraph([graph(1e-8)["x"], settled])).step()
    assert report.steps == {"w": 0}
    assert report.losses["w"] > 0  # the one evaluation that saw it


def test_nesting_no_longer_pays_for_steps_that_do_nothing():
    def middle(v, batch):
        return ((v.m - 2 * v.l) ** 2).sum() + (v.m**2).sum()

    def deep(v, batch):
        return ((v.l - v.m - v.x) ** 2).sum()

    def total(tolerance):
        low = {"update": torchopt.sgd(0.2), "steps": 60, "response": mlo.Implicit(), "tolerance": tolerance}
        one = torch.ones(2, dtype=F64)
        problems = [
            mlo.Problem("x", lambda v, _: ((v.m - 3) ** 2).sum(), one, reads=["m"], update=torchopt.sgd(0.1)),
            mlo.Problem("m", middle, one, reads=["l"], **low),
            mlo.Problem("l", deep, one, reads=["m", "x"], **low),
        ]
        engine = mlo.Engine(mlo.ProblemGraph(problems))
        return engine.step()

    full, early = total(0.0), total(1e-9)
    # l = m + x, m = -x: dF/dx = -2 (m - 3) = 8 in each of two entries.
    assert full.norms["x"] == pytest.approx(8 * 2**0.5, rel=1e-9)
    assert early.norms["x"] == pytest.approx(full.norms["x"], rel=1e-7)
    assert full.gradients > 60 * 60
    assert early.gradients < full.gradients / 3


def test_the_gradient_that_counts_is_that_of_loss_and_proximal_term():
    def learner(v, batch):
        return ((v.a - 2) ** 2).sum() + 0 * v.z

    def chain(tolerance):
        a = mlo.Problem(
            "a", learner, START, reads=["z"], update=torchopt.sgd(0.05), steps=500, tolerance=tolerance,
            response=mlo.Implicit(),
        )  # fmt: skip
        stages = mlo.interleave([a], rounds=2, proximal=mlo.Proximal(3.0, step_size=0.05), shared=lambda name: True)
        top = mlo.Problem("z", lambda v, _: (v["a@2"] ** 2).sum() + v.z**2, torch.tensor(1.0, dtype=F64),
                          reads=["a@2"], update=torchopt.sgd(0.1))  # fmt: skip
        return mlo.ProblemGraph([top, *stages])

    engine = mlo.Engine(chain(1e-8))
    report = engine.step()
    assert all(0 < made < 500 for made in report.steps.values())
    # The second stage rests where 2 (w - 2) + 6 (w - first) = 0, not where its own loss is flat.
    first, second = engine.values["a@1"], engine.values["a@2"]
    torch.testing.assert_close(2 * (second - 2) + 6 * (second - first), torch.zeros(2, dtype=F64), rtol=0, atol=1e-7)


def test_a_tolerance_is_refused_where_the_steps_are_differentiated():
    with pytest.raises(mlo.GraphError, match=r"'w' cannot stop early under Unroll: .* use mlo.Implicit\(\)"):
        graph(1e-6, response=mlo.Unroll())


@pytest.mark.parametrize("bad", [-1.0, float("nan"), True, "small"])
def test_a_tolerance_is_a_number(bad):
    with pytest.raises(mlo.GraphError, match="problem 'w': tolerance must be a number >= 0"):
        graph(bad)


@pytest.mark.parametrize("rule", [mlo.FixedPoint(), mlo.FirstOrder()], ids=["fixed", "first"])
def test_a_tolerance_is_refused_where_the_update_does_not_rest_where_the_gradient_vanishes(rule):
    # From the loss's minimum it would make no step, though the decay moves it on.
    with pytest.raises(mlo.GraphError, match=r"'w' cannot stop early: its update decays weights .* tolerance at 0"):
        graph(1e-6, response=rule, update=torchopt.sgd(0.1, weight_decay=1.0))


@pytest.mark.parametrize("rule", [mlo.Implicit, mlo.FixedPoint, lambda **how: mlo.Penalty(1e3, steps=300, **how)])
def test_a_solve_that_misses_its_tolerance_is_said_or_an_error(rule):
    with pytest.warns(mlo.UnconvergedWarning, match=r"problem 'w': its solve has not reached its tolerance: .* is \d"):
        mlo.hypergradient(graph(1e-8, steps=3, response=rule()), of="x")
    with pytest.raises(mlo.UnconvergedError, match="problem 'w': its solve has not reached its tolerance"):
        mlo.hypergradient(graph(1e-8, steps=3, response=rule(strict=True)), of="x")


def test_the_last_step_may_be_the_one_that_gets_there():
    made = mlo.Engine(graph(1e-3)).step().steps["w"]
    assert mlo.Engine(graph(1e-3, steps=made)).step().steps["w"] == made  # and no warning
    with pytest.warns(mlo.UnconvergedWarning, match=r"in 1 of 1 outer steps"):
        mlo.Engine(graph(1e-3, steps=made - 1)).step()


def test_first_order_answers_need_no_rest():
    assert mlo.Engine(graph(1e-8, steps=3, response=mlo.FirstOrder())).step().steps == {"w": 3}
