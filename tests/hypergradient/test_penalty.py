"""The penalty rule against implicit differentiation: the order of its error, the law, and what it leaves alone.

The pushed solves stop at a residual of 1e-10, so that what is left is the penalty's own error: a / weight one-sided,
b / weight^2 two-sided, and rounding (1e-16 * weight).
"""

import pytest
import torch
import torchopt
from hypothesis import given, settings
from hypothesis import strategies as st

import mlo

F64 = torch.float64
X = torch.tensor([0.3, 0.8], dtype=F64)
STEPS = 150  # each leaves 0.8 of the way or less


def matrices(seed):
    generator = torch.Generator().manual_seed(seed)
    root, b = torch.randn(2, 2, 2, generator=generator, dtype=F64) / 2
    return root @ root.T + torch.eye(2, dtype=F64), b


def validate(v, batch):
    return ((v.w - 1) ** 2).sum() + (v.x * v.w).sum()


def graph(rule, seed=0, steps=STEPS, update=None, x=X, upper=validate):
    h, b = matrices(seed)

    def lower(v, batch):
        return 0.5 * v.w @ h @ v.w - v.w @ (b @ v.x) + 0.1 * (v.w**4).sum()

    top = mlo.Problem("x", upper, x, reads=["w"], update=torchopt.sgd(0.02))
    update = update or torchopt.sgd(0.2)
    low = mlo.Problem("w", lower, torch.ones(2, dtype=F64), reads=["x"], update=update, steps=steps, response=rule)
    return mlo.ProblemGraph([top, low])


def error(rule, seed=0, **more):
    truth = mlo.hypergradient(graph(mlo.Implicit(mlo.Dense()), seed), of="x")
    return float((mlo.hypergradient(graph(rule, seed, **more), of="x") - truth).norm() / truth.norm())


def penalty(weight, **more):
    return mlo.Penalty(weight, steps=400, tol=1e-10, **more)


@pytest.mark.parametrize(("two_sided", "order"), [(True, 2), (False, 1)])
def test_the_error_falls_with_the_weight_at_its_order(two_sided, order):
    errors = [error(penalty(weight, two_sided=two_sided)) for weight in (30.0, 300.0)]
    assert errors[0] > 1e-6  # there is an error to speak of
    assert errors[1] == pytest.approx(errors[0] / 10**order, rel=0.25)


@settings(max_examples=8)
@given(st.integers(0, 10**6))
def test_with_a_large_weight_it_equals_implicit_differentiation(seed):
    assert error(penalty(1e4), seed) < 1e-6


@pytest.mark.parametrize("nesterov", [False, True])
def test_pushed_solves_use_the_problems_own_update(nesterov):
    update = torchopt.sgd(0.1, momentum=0.5, nesterov=nesterov)
    assert error(mlo.Penalty(1e3, steps=300, tol=1e-8), update=update) < 1e-5


@pytest.mark.parametrize("two_sided", [True, False])
def test_a_lower_solve_that_was_not_finished_cancels(two_sided):
    # Four steps leave the answer short of rest. Ten more of both solves drift alike.
    truth = mlo.hypergradient(graph(mlo.Implicit(mlo.Dense()), steps=4), of="x")
    with pytest.warns(mlo.UnconvergedWarning):
        found = mlo.hypergradient(graph(mlo.Penalty(1e3, steps=10, tol=0.0, two_sided=two_sided), steps=4), of="x")
    assert float((found - truth).norm()) < 0.3 * float(truth.norm())


def test_from_one_side_an_answer_short_of_rest_is_brought_there():
    # What it lacks of rest was multiplied by the weight, and counted as converged. Both take the same cotangent.
    one, two = (mlo.hypergradient(graph(penalty(1e4, two_sided=s), steps=4), of="x") for s in (False, True))
    torch.testing.assert_close(one, two, rtol=1e-3, atol=0)


def test_only_gradients_are_taken():
    # The steps, the objective, and for each side s steps and s + 1 looks, the last of which also gives the difference.
    engine = mlo.Engine(graph(penalty(1e3)))
    report = engine.step()
    assert report.gradients == STEPS + 1 + report.solves["w"].iterations + 2 + 2


def test_an_engine_goes_on_from_the_push_before():
    cold, warm = (mlo.Engine(graph(mlo.Penalty(1e3, warm_start=flag))) for flag in (False, True))
    counts = {id(e): [report.solves["w"].iterations for report in e.run(5)] for e in (cold, warm)}
    assert sum(counts[id(warm)][1:]) * 2 < sum(counts[id(cold)][1:])


def test_a_push_that_does_not_converge_is_said_or_raised():
    with pytest.warns(mlo.UnconvergedWarning, match=r"problem 'w': .* relative residual"):
        mlo.hypergradient(graph(mlo.Penalty(1e3, steps=1)), of="x")
    with pytest.raises(mlo.UnconvergedError, match="problem 'w'"):
        mlo.hypergradient(graph(mlo.Penalty(1e3, steps=1, strict=True)), of="x")


def nested(middle, low):
    one = torch.full((1,), 0.5, dtype=F64)
    mid = {"update": torchopt.sgd(0.5), "steps": 2, "response": middle}
    low = {"update": torchopt.sgd(0.5), "steps": 50, "response": low}
    return mlo.ProblemGraph(
        [
            mlo.Problem("u", lambda v, _: ((v.m - 3) ** 2).sum() / 2, one, reads=["m"], update=torchopt.sgd(0.1)),
            mlo.Problem("m", lambda v, _: (v.m**2 + (v.l - 1) ** 2).sum() / 2, one, reads=["l"], **mid),
            mlo.Problem("l", lambda v, _: ((v.l - v.m - v.u) ** 2).sum() / 2, one, reads=["m", "u"], **low),
        ]
    )


def test_nested_it_stays_first_order_under_finite_differences():
    # l = m + u, m = (1 - u) / 2, so that dF/du = - (m - 3) / 2. The losses are quadratic: no truncation on any level.
    rule = mlo.Implicit(mlo.CG(tol=1e-6), product=mlo.FiniteDifference(epsilon=1e-2))
    found = mlo.hypergradient(nested(rule, penalty(10.0)), of="u")
    assert float(found) == pytest.approx(1.375, rel=1e-5)


def test_inside_an_exact_product_it_is_refused():
    with pytest.raises(mlo.GraphError, match=r"'l' cannot respond by Penalty inside an exact product: .*FiniteDiff"):
        mlo.hypergradient(nested(mlo.Unroll(), penalty(10.0)), of="u")


def test_twice_the_same():
    made = graph(penalty(1e2))
    assert torch.equal(mlo.hypergradient(made, of="x"), mlo.hypergradient(made, of="x"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mlo.Penalty(0.0), "weight must be positive"),
        (lambda: mlo.Penalty(float("nan")), "weight must be positive"),
        (lambda: mlo.Penalty(1.0, steps=0), "steps must be a whole number >= 1"),
        (lambda: mlo.Penalty(1.0, tol=-1.0), "tol must be a number >= 0"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(mlo.ConfigError, match=f"Penalty: {message}"):
        make()


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_the_law(seed):
    # <pullback(c), d> = <c, dx*[d]>, the right side by central differences of the point of rest (h = 1e-4: 1e-8).
    c, d = torch.randn(2, 2, generator=torch.Generator().manual_seed(seed), dtype=F64)

    def at(x, rule):
        return graph(rule, 1, x=x, upper=lambda v, batch: c @ v.w)

    def rest(x):
        engine = mlo.Engine(at(x, mlo.FirstOrder()))
        engine.step()
        return engine.values["w"]

    right = c @ (rest(X + 1e-4 * d) - rest(X - 1e-4 * d)) / 2e-4
    # The penalty's own error is c^3 / weight^2 of third derivatives: 1e-5 with room.
    assert float(mlo.hypergradient(at(X, penalty(1e3)), of="x") @ d) == pytest.approx(float(right), rel=1e-4, abs=1e-5)


def test_the_check_takes_it_though_it_keeps_no_record_and_finds_a_weight_too_small():
    mlo.testing.check_hypergradient(graph(penalty(1e4)), of="x", directions=1)
    with pytest.raises(mlo.HypergradientMismatch, match="wrong: 'w' reads 'x'"):
        mlo.testing.check_hypergradient(graph(penalty(2.0)), of="x", directions=1)
