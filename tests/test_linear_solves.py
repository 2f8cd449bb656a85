"""Linear solves inside an engine: where they start, and what happens when they do not converge."""

import warnings
from dataclasses import replace

import pytest
import torch
import torchopt

import mlo
from mlo.gradient import prepared
from mlo.linear.base import LinearSolution
from mlo.solve import ProblemNode

F64 = torch.float64
N = 40


def curvatures():
    return torch.logspace(0, 2, N, dtype=F64)


def graph(rule, *, rate=1e-3, x=None):
    """A quadratic problem of condition 100 whose adjoint drifts slowly as x is trained."""
    h = curvatures()
    target = torch.randn(N, generator=torch.Generator().manual_seed(0), dtype=F64)

    def upper(v, batch):
        return ((v.w - target) ** 2).sum()

    def lower(v, batch):
        return 0.5 * (h * v.w**2).sum() - (v.w * v.x).sum() + (v.w**4).sum()

    top = mlo.Problem("x", upper, torch.ones(N, dtype=F64) if x is None else x, reads=["w"], update=torchopt.sgd(rate))
    update = torchopt.sgd(0.009)
    low = mlo.Problem("w", lower, torch.zeros(N, dtype=F64), reads=["x"], update=update, steps=60, response=rule)
    return mlo.ProblemGraph([top, low])


def products(rule, steps=12):
    return [report.solves["w"].iterations for report in mlo.Engine(graph(rule)).run(steps)]


@pytest.mark.parametrize("make", [mlo.Implicit, mlo.FixedPoint], ids=["stationary", "fixed point"])
def test_a_warm_start_saves_products_and_changes_no_number(make):
    # The drift of one step is about 1e-3 of the adjoint, and 1e-6 is asked for: half of the digits are there.
    solver = (mlo.CG if make is mlo.Implicit else mlo.GMRES)(max_steps=200, tol=1e-6)
    warm, cold = products(make(solver)), products(make(solver, warm_start=False))
    assert warm[0] == cold[0]
    assert sum(warm[1:]) < 0.75 * sum(cold[1:])
    norms = [list(mlo.Engine(graph(make(solver, warm_start=flag))).run(5))[-1].norms["x"] for flag in (True, False)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_where_nothing_moves_a_warm_start_takes_one_product():
    # A rate this small leaves the system where it was: one product sees that the start solves it.
    engine = mlo.Engine(graph(mlo.Implicit(mlo.CG(max_steps=200, tol=1e-6)), rate=1e-14))
    first, *_, last = (report.solves["w"].iterations for report in engine.run(30))  # by then w has settled
    assert first > 5
    assert last == 1


def test_truncated_solves_become_right_over_the_steps():
    # Three products a step leave a residual of 0.3 from zero; from the solution before they go on converging.
    rule = mlo.Implicit(mlo.CG(max_steps=3))
    with pytest.warns(mlo.UnconvergedWarning):
        residuals = [report.solves["w"].residual for report in mlo.Engine(graph(rule)).run(30)]
    assert residuals[0] > 0.1
    assert residuals[-1] < residuals[0] / 20


def test_one_hypergradient_starts_from_zero_and_is_the_same_twice():
    made = graph(mlo.Implicit())
    assert torch.equal(mlo.hypergradient(made, of="x"), mlo.hypergradient(made, of="x"))


def few(**more):
    return mlo.Implicit(mlo.CG(max_steps=2), **more)


def test_a_solve_that_did_not_converge_is_warned_of_with_its_residual():
    told = r"problem 'w': .* relative residual [0-9.e+-]+ after 2 steps, smallest curvature \d"
    with pytest.warns(mlo.UnconvergedWarning, match=told) as seen:
        mlo.hypergradient(graph(few()), of="x")
    assert len(seen) == 1
    assert seen[0].filename == __file__  # the line of the caller


def test_or_it_is_an_error_on_request():
    with pytest.raises(mlo.UnconvergedError, match=r"problem 'w': .* has not converged: relative residual"):
        mlo.hypergradient(graph(few(strict=True)), of="x")
    engine = mlo.Engine(graph(mlo.FixedPoint(mlo.GMRES(max_steps=2), strict=True)))
    with pytest.raises(mlo.UnconvergedError, match="problem 'w'"):
        engine.step()
    assert engine.step_count == 0
    assert torch.equal(engine.values["w"], torch.zeros(N, dtype=F64))  # nothing is lost, nothing moved


def test_an_engine_says_it_at_the_1st_the_10th_and_the_100th_time():
    engine = mlo.Engine(graph(few(warm_start=False)))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        list(engine.run(12))
    told = [str(item.message) for item in seen]
    assert len(told) == 2
    assert told[0].endswith("(in 1 of 1 outer steps)")
    assert told[1].endswith("(in 10 of 10 outer steps)")


STOPPED = {"stationary": few, "fixed point": lambda **more: mlo.FixedPoint(mlo.GMRES(max_steps=2), **more)}


@pytest.mark.parametrize("rule", STOPPED.values(), ids=STOPPED.keys())
def test_a_nested_solve_that_did_not_converge_is_seen_too(rule):
    """The deep problem's adjoint is solved inside the middle one's condition: by autograd, far from any report."""

    def deep(v, batch):
        return 0.5 * (curvatures() * v.l**2).sum() - (v.l * (v.m + v.x)).sum()

    def middle(v, batch):
        return (v.m**2).sum() + (v.l**2).sum()

    one = torch.ones(N, dtype=F64)
    low = {"update": torchopt.sgd(0.009), "steps": 2}

    def found(response):
        problems = [
            mlo.Problem("x", lambda v, _: ((v.m - 1) ** 2).sum(), one, reads=["m"], update=torchopt.sgd(0.1)),
            mlo.Problem("m", middle, one, reads=["l"], response=mlo.Implicit(), steps=0),  # no solve of its own
            mlo.Problem("l", deep, one, reads=["m", "x"], response=response, **low),
        ]
        return mlo.hypergradient(mlo.ProblemGraph(problems), of="x")

    with pytest.warns(mlo.UnconvergedWarning, match="problem 'l'"):
        found(rule())
    with pytest.raises(mlo.UnconvergedError, match="problem 'l'"):
        found(rule(strict=True))


def test_a_step_whose_warning_is_made_an_error_is_not_made():
    engine = mlo.Engine(graph(few()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(mlo.UnconvergedWarning):
            engine.step()
    assert engine.step_count == 0
    assert torch.equal(engine.values["w"], torch.zeros(N, dtype=F64))


@pytest.mark.parametrize("advance", [lambda it: it.step(), lambda it: list(it.run(1))], ids=["step", "run"])
def test_an_engines_warning_points_at_the_caller(advance):
    with pytest.warns(mlo.UnconvergedWarning) as seen:
        advance(mlo.Engine(graph(few())))
    assert [item.filename for item in seen] == [__file__]


@pytest.mark.parametrize("order", [(0.1, 0.5, 0.2), (0.5, 0.1), (0.1, 0.5)], ids=str)
def test_of_many_solves_the_worst_is_told(order):
    node = ProblemNode(prepared(graph(few()), "x", {}, {}), "w")
    for size in order:
        node.note(LinearSolution(torch.zeros(N), size, 2, False, 1.0))
        node.note_restless(size)
    tally = node.context.tally
    assert tally.unconverged["w"].residual == 0.5
    assert tally.restless == {"w": 0.5}


def test_a_problem_with_two_complaints_has_two_warnings():
    made = graph(few())
    engine = mlo.Engine(mlo.ProblemGraph([made["x"], replace(made["w"], tolerance=1e-9)]))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        engine.step()
    told = sorted(str(item.message) for item in seen)
    assert len(told) == 2
    assert told[0].startswith("problem 'w': its solve has not reached its tolerance")
    assert told[1].startswith("problem 'w': the adjoint solve of its response has not converged")
    assert all(message.endswith("(in 1 of 1 outer steps)") for message in told)
