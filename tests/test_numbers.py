"""Whatever becomes NaN or infinite, under whatever rule: named with step and batch, and nothing has changed."""

import math

import pytest
import torch
import torchopt

import mlo
from tests.failing import fails

F64 = torch.float64
X, Y = torch.linspace(-1, 1, 12, dtype=F64).reshape(4, 3), torch.linspace(0, 1, 4, dtype=F64)
GOOD = (X, Y)
NAN = (torch.where(torch.arange(12).reshape(4, 3) == 7, math.nan, X), Y)  # in example 3
INF = (X, torch.where(torch.arange(4) == 1, math.inf, Y))  # in example 2

RULES = {
    "unroll": mlo.Unroll(),
    "recompute": mlo.Unroll(memory=mlo.Recompute()),
    "difference": mlo.Unroll(product=mlo.FiniteDifference()),
    "first order": mlo.FirstOrder(),
    "cg": mlo.Implicit(mlo.CG()),
    "neumann": mlo.Implicit(mlo.Neumann()),
    "gmres": mlo.Implicit(mlo.GMRES()),
    "fixed point": mlo.FixedPoint(),
    "penalty": mlo.Penalty(10.0),
    "forward": mlo.Unroll(memory=mlo.Forward()),
}
SGD = torchopt.sgd(0.1)


def fit(v, b):
    return ((b[0] @ v.w - b[1]) ** 2).mean() + (v.a.exp() * v.w**2).sum()


def judge(v, b):
    return ((b[0] @ v.w - b[1]) ** 2).mean()


def deeper(v, b):
    return ((v.d - b[0].mean()) ** 2).sum()


def graph(rule, *, low=(GOOD,), top=(GOOD,), deep=None, fitted=fit, judged=judge, update=SGD, topped=SGD, **options):
    start = torch.zeros(3, dtype=F64)
    reads = ["a"] if deep is None else ["a", "d"]
    a = mlo.Problem("a", judged, start, reads=["w"], update=topped, batches=list(top))
    w = mlo.Problem(
        "w", fitted, start, reads=reads, update=update, batches=list(low), steps=3, response=rule, **options
    )
    d = [] if deep is None else [mlo.Problem("d", deeper, start, update=SGD, batches=list(deep))]
    return mlo.ProblemGraph([a, w, *d])


def on_deep(v, b):
    return fit(v, b) + (v.d**2).sum()


WAYS = [(way, place) for way in ("step", "look ahead", "frozen", "gradient") for place in ("low", "top", "deep")]
WAYS.remove(("frozen", "top"))  # the outermost takes no part in a frozen step


@pytest.mark.filterwarnings("ignore::mlo.UnconvergedWarning")
@pytest.mark.parametrize(("way", "place"), WAYS)
@pytest.mark.parametrize("rule", RULES)
def test_a_batch(place, rule, way):
    batches = {place: [GOOD, NAN]} | ({} if place == "deep" else {"deep": [GOOD, GOOD]})
    problems = graph(RULES[rule], fitted=on_deep, **batches)
    culprit = {"low": "w", "top": "a", "deep": "d"}[place]
    told = rf"the loss of problem '{culprit}' is nan.*its batch holds NaN \(entry 0; in 1 of 4 examples, .* number 3\)"
    if way == "gradient":
        with pytest.raises(mlo.DivergenceError, match=told) as caught:
            mlo.hypergradient(problems, of="a", batches={culprit: NAN})
        assert caught.value.problem == culprit
        return
    engine = mlo.Engine(problems, look_ahead=way == "look ahead")
    engine.step(frozen=way == "frozen")
    error = fails(engine, told, frozen=way == "frozen")
    assert error.problem == culprit
    assert f"batch 2 of pass 1 of problem '{culprit}'" in error.__notes__[-1]
    assert engine.step(frozen=way == "frozen").step == 2  # of the first batch, again


def test_infinity_is_told_apart_from_nan():
    engine = mlo.Engine(graph(mlo.Unroll(), low=[GOOD, INF]))
    engine.step()
    fails(engine, r"its batch holds infinity \(entry 1; in 1 of 4 examples, the first is number 2\)")


def root(v, b):
    """Its gradient is infinite at zero, its value is 0."""
    return fit(v, b) + v.w.abs().sqrt().sum()


@pytest.mark.parametrize("frozen", [False, True])
def test_a_gradient_of_a_finite_loss(frozen):
    engine = mlo.Engine(graph(mlo.Unroll(), fitted=root))
    told = r"loss of problem 'w' is (nan|inf) at step 1 of its solve: lower its step size, .* or its gradient at step 0"
    fails(engine, told, frozen=frozen, step=1)


def test_a_last_gradient_of_a_finite_loss():
    start = torch.zeros(3, dtype=F64)
    w = mlo.Problem("w", root, start, reads=["a"], update=SGD, batches=[GOOD])
    top = mlo.Problem("a", lambda v, b: (v.a**2).sum() + 0 * v.w.sum(), start, reads=["w"], update=SGD)
    engine = mlo.Engine(mlo.ProblemGraph([top, w]))
    fails(engine, "'value' is not finite after 1 steps, and the gradient was not before: a square root", step=1)


def test_an_answer_that_overflows_after_a_finite_gradient():
    update = torchopt.sgd(1e308)
    start = torch.ones(3, dtype=F64)
    w = mlo.Problem("w", lambda v, _: 1e3 * (v.w * v.a).sum(), start, reads=["a"], update=update)
    top = mlo.Problem("a", lambda v, _: (v.a**2).sum() + (0 * v.w.tanh()).sum(), start, reads=["w"], update=SGD)
    engine = mlo.Engine(mlo.ProblemGraph([top, w]))
    fails(engine, "problem 'w': 'value' is not finite after 1 steps, though loss and gradient were", step=1)


def test_a_learned_step_size_that_overflows():
    update = mlo.Learned(lambda v: torchopt.sgd(v.rate.exp()), reads=["rate"])
    w = mlo.Problem("w", judge, torch.ones(3, dtype=F64), update=update, batches=[GOOD])
    top = mlo.Problem("rate", judge, torch.tensor(800.0, dtype=F64), reads=["w"], update=SGD, batches=[GOOD])
    fails(mlo.Engine(mlo.ProblemGraph([top, w])), "problem 'w': 'value' is not finite after 1 steps", step=1)


def test_a_proximal_weight_that_overflows():
    start = torch.zeros(3, dtype=F64)
    learners = [mlo.Problem(name, judge, start, update=SGD, batches=[GOOD]) for name in ("w", "u")]
    learners[1] = mlo.Problem("u", lambda v, b: (v.u**2).sum(), start, update=SGD)
    weight = mlo.Learned(lambda v: v.a.exp(), reads=["a"])
    stages = mlo.interleave(learners, rounds=1, proximal=mlo.Proximal(weight, step_size=0.1), shared="")
    top = mlo.Problem(
        "a", lambda v, _: (v["u@1"] ** 2).sum(), torch.tensor(800.0, dtype=F64), reads=["u@1"], update=SGD
    )
    engine = mlo.Engine(mlo.ProblemGraph([top, *stages]))
    fails(engine, "problem 'u@1': its proximal weight, learned from 'a', is inf", step=1)


@pytest.mark.parametrize(("terms", "accumulate"), [(2, 1), (2, 2), (1, 1), (3, 4)])
def test_the_term_of_a_sum(terms, accumulate):
    loss = mlo.Sum([judge] * terms, names=[f"task{index}" for index in range(terms)])
    top = [tuple([GOOD] * terms), (*[GOOD] * (terms - 1), INF)]
    start = torch.zeros(3, dtype=F64)
    w = mlo.Problem("w", fit, start, reads=["a"], update=SGD, batches=[GOOD])
    a = mlo.Problem("a", loss, start, reads=["w"], update=SGD, batches=top, accumulate=accumulate)
    engine = mlo.Engine(mlo.ProblemGraph([a, w]))
    engine.step()
    label = rf"term {terms} \('task{terms - 1}'\)"
    fails(
        engine, rf"the loss of problem 'a' is inf, from {label}: its batch holds infinity \({label}, entry 1; in 1 of 4"
    )


def test_names_of_terms_are_checked():
    with pytest.raises(mlo.GraphError, match="Sum: names has 1 for 2 terms"):
        mlo.Sum([judge, judge], names=["one"])
    with pytest.raises(mlo.GraphError, match="Sum: names"):
        mlo.Sum([judge, judge], names="ab")


def test_a_chunk_of_an_accumulated_batch():
    engine = mlo.Engine(graph(mlo.Unroll(), low=[GOOD, NAN], accumulate=2))
    engine.step()
    fails(engine, r"the loss of problem 'w' is nan at step 0 .* in 1 of 4 examples, the first is number 3")


def test_a_scale_that_is_too_large_is_told_before_anything_else():
    start, x = torch.full((3,), 100.0), torch.full((4, 3), 100.0)
    precision = mlo.Autocast(torch.float16, scale=2.0**15)
    w = mlo.Problem(
        "w",
        lambda v, b: ((v.w.half() * b.half()).float()).mean() + 0 * v.a.sum(),
        start,
        reads=["a"],
        update=SGD,
        batches=[x],
        precision=precision,
    )
    top = mlo.Problem("a", lambda v, b: v.w.sum() * 1e-3 + (v.a**2).sum(), start, reads=["w"], update=SGD)
    fails(
        mlo.Engine(mlo.ProblemGraph([top, w])), r"the gradient of problem 'w' is not finite at the scale 32768", step=1
    )


def test_a_value_that_was_not_finite_before():
    problems = graph(mlo.Unroll())
    values = {"w": torch.tensor([0.0, math.nan, 0.0], dtype=F64)}
    with pytest.raises(mlo.DivergenceError, match="the value of problem 'w' was not finite before, entry 'value'"):
        mlo.hypergradient(problems, of="a", values=values)
    values = {"a": torch.full((3,), math.inf, dtype=F64)}
    with pytest.raises(mlo.DivergenceError, match="the value of problem 'a' was not finite before, entry 'value'"):
        mlo.hypergradient(problems, of="a", values=values)
