"""What is not finite is noticed at the end of a step, and named first all the same: before what it made fail."""

import pytest
import torch
import torchopt

import mlo
from mlo.update import UpdateRule

F64 = torch.float64
START = {"a": torch.ones(3, dtype=F64), "b": torch.full((2,), 2.0, dtype=F64)}
ONES = torch.ones(2, dtype=F64)
SGD = torchopt.sgd(0.1)


class Spoilt:
    """Whether the culprit's loss is spoilt."""

    def __init__(self):
        self.on = False

    def __call__(self, value):
        return value * float("nan") if self.on else value


def demanding(value):
    """A user's own check, or a decomposition of torch that refuses what is not finite."""
    if not bool(torch.isfinite(value).all()):
        raise ValueError("a user's own check")
    return value


class Demanding(UpdateRule):
    """A user's own update, with a check."""

    def init(self, params):
        return ()

    def apply(self, params, gradient, state, others):
        return {name: value - 0.1 * demanding(gradient[name]) for name, value in params.items()}, state


def deeper(spoilt, response):
    """Problem d is solved first, and what it leaves is read by all."""

    def upper(v, _):
        return (demanding(v.w["a"]) ** 2).sum() + (v.z**2).sum() + v.d.sum()

    def lower(v, _):
        return (v.w["a"] ** 2).sum() * v.z.exp().sum() * (1 + v.d.sum() ** 2) + (v.w["b"] ** 2).sum()

    return [
        mlo.Problem("z", upper, ONES, reads=["w", "d"], update=SGD),
        mlo.Problem("w", lower, START, reads=["z", "d"], update=torchopt.sgd(0.01), response=response),
        mlo.Problem("d", lambda v, _: spoilt((v.d**2).sum()), ONES, update=SGD),
    ]


def outermost(spoilt, update, check):
    """The loss of z is spoilt, and z is read again by what is solved after its update."""

    def lower(v, _):
        return (v.w["a"] ** 2).sum() * check(v.z).exp().sum() + (v.w["b"] ** 2).sum()

    return [
        mlo.Problem("z", lambda v, _: spoilt((v.z**2).sum()) + v.w["a"].sum(), ONES, reads=["w"], update=update),
        mlo.Problem("w", lower, START, reads=["z"], update=torchopt.sgd(0.01)),
    ]


def at_rest(spoilt):
    response = mlo.Implicit(strict=True)
    rule = torchopt.sgd(0.1)

    def lower(v, _):
        return spoilt((v.w["a"] ** 2).sum() + ((v.w["b"] - v.z) ** 2).sum())

    return [
        mlo.Problem("z", lambda v, _: (v.w["b"] ** 2).sum(), ONES, reads=["w"], update=SGD),
        mlo.Problem("w", lower, START, reads=["z"], update=rule, steps=60, tolerance=0.1, response=response),
    ]


FIXED = mlo.FixedPoint(warm_start=False)
DIFFERENCE = mlo.Implicit(product=mlo.FiniteDifference())
CASES = {
    "unroll": (lambda spoilt: deeper(spoilt, mlo.Unroll()), "d", {}),
    "implicit": (lambda spoilt: deeper(spoilt, mlo.Implicit()), "d", {}),
    "neumann": (lambda spoilt: deeper(spoilt, mlo.Implicit(mlo.Neumann())), "d", {}),
    "difference": (lambda spoilt: deeper(spoilt, DIFFERENCE), "d", {}),
    "fixed point": (lambda spoilt: deeper(spoilt, FIXED), "d", {}),
    "look ahead": (lambda spoilt: outermost(spoilt, SGD, demanding), "z", {"look_ahead": True}),
    "own update": (lambda spoilt: outermost(spoilt, Demanding(), lambda z: z), "z", {}),
    "at rest": (at_rest, "w", {}),
}


def state(engine):
    return [{n: v if isinstance(v, dict) else {"": v} for n, v in engine.values.items()}, dict(engine._states)]


BELOW = [name for name, (_, culprit, _) in CASES.items() if culprit != "z"]  # a frozen step takes no loss of z


@pytest.mark.parametrize(("case", "frozen"), [*((name, False) for name in CASES), *((name, True) for name in BELOW)])
def test_the_first_culprit_is_named_and_nothing_is_changed(case, frozen):
    make, culprit, options = CASES[case]
    spoilt = Spoilt()
    engine = mlo.Engine(mlo.ProblemGraph(make(spoilt)), **options)
    engine.step()
    before = state(engine)
    spoilt.on = True
    for _ in range(2):
        with pytest.raises(mlo.DivergenceError, match=f"loss of problem '{culprit}' is nan"):
            engine.step(frozen=frozen)
        torch.testing.assert_close(state(engine)[0], before[0], rtol=0, atol=0)
        assert all(engine._states[name] is value for name, value in before[1].items())
        assert engine.step_count == 1
    spoilt.on = False
    assert engine.step(frozen=frozen).step == 2


def test_an_error_of_a_loss_is_not_covered_up_where_all_was_finite():
    def upper(v, _):
        raise ValueError("no such file")

    problems = [mlo.Problem("z", upper, ONES, reads=["d"], update=SGD)]
    problems.append(mlo.Problem("d", lambda v, _: (v.d**2).sum(), ONES, update=SGD))
    with pytest.raises(ValueError, match="no such file"):
        mlo.Engine(mlo.ProblemGraph(problems)).step()


def bilevel(upper, lower, response=None):
    chosen = {} if response is None else {"response": response}
    top = mlo.Problem("z", upper, ONES, reads=["w"], update=SGD)
    return mlo.ProblemGraph([top, mlo.Problem("w", lower, START, reads=["z"], update=torchopt.sgd(0.01), **chosen)])


def smooth(v, _):
    return (v.w["a"] ** 2).sum() * v.z.exp().sum() + (v.w["b"] ** 2).sum()


def both_ways(graph):
    return [lambda: mlo.hypergradient(graph, of="z"), lambda: mlo.Engine(graph).step()]


@pytest.mark.parametrize("way", [0, 1])
def test_a_loss_that_is_not_finite_is_found_where_its_gradient_is(way):
    graph = bilevel(lambda v, _: v.w["a"].sum(), lambda v, _: smooth(v, _) + float("inf"))
    with pytest.raises(mlo.DivergenceError, match="the loss of problem 'w' is inf at step 0"):
        both_ways(graph)[way]()


@pytest.mark.parametrize("way", [0, 1])
def test_a_gradient_that_is_not_finite_is_found_where_all_losses_are(way):
    graph = bilevel(lambda v, _: v.w["a"].sum() + (v.z - 1).abs().sqrt().sum(), smooth)
    with pytest.raises(mlo.DivergenceError, match=r"the hypergradient of problem 'z'.* is not finite"):
        both_ways(graph)[way]()


@pytest.mark.parametrize("way", [0, 1])
def test_a_difference_that_is_lost_in_rounding_is_an_error(way):
    rule = mlo.Unroll(product=mlo.FiniteDifference(epsilon=1e-15))
    graph = bilevel(lambda v, _: v.w["a"].sum(), smooth, rule)
    with pytest.raises(mlo.ConfigError, match=r"problem 'w': FiniteDifference\(epsilon=1e-15\) is lost in rounding"):
        both_ways(graph)[way]()
