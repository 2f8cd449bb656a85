"""Settings of an update as outer variables: against a loop by hand, and against differences."""

import functools

import pytest
import torch
import torchopt

import mlo
from mlo.testing import check_hypergradient
from tests.update import formulas
from tests.update.formulas import unrolled
from tests.update.learning import F64, STEPS, X0, graph, lower, numbers, slope, upper

OPTIM = torch.optim


def paired(h):
    """Return settings by the names of both libraries: two betas make one setting."""
    h = dict(h)
    if "b1" in h:
        h["betas"] = (h.pop("b1"), h.pop("b2"))
    if "less" in h:
        h["etas"], h["step_sizes"] = (h.pop("less"), h.pop("more")), (1e-6, h.pop("most"))
    return h


# (what makes the update, formula, settings that are learned, settings that are not)
ADAM = {"lr": 0.1, "b1": 0.6, "b2": 0.8, "eps": 0.01, "weight_decay": 0.2}
CASES = [
    (OPTIM.SGD, formulas.sgd, {"lr": 0.1, "weight_decay": 0.2, "momentum": 0.5, "dampening": 0.3}, {}),
    (OPTIM.SGD, formulas.sgd, {"lr": 0.1, "weight_decay": 0.2, "momentum": 0.5}, {"nesterov": True}),
    (OPTIM.SGD, formulas.sgd, {"lr": 0.05, "weight_decay": 0.0, "momentum": 0.0}, {"maximize": True}),
    (OPTIM.Adam, formulas.adam, ADAM, {}),
    (OPTIM.Adam, formulas.adam, {**ADAM, "weight_decay": 0.0}, {"amsgrad": True, "maximize": True}),
    (OPTIM.AdamW, formulas.adamw, ADAM, {}),
    (OPTIM.Adamax, formulas.adamax, ADAM, {}),
    (OPTIM.NAdam, formulas.nadam, {**ADAM, "momentum_decay": 0.1}, {}),
    (OPTIM.NAdam, formulas.nadam, {**ADAM, "weight_decay": 0.0}, {"decoupled_weight_decay": True}),
    (OPTIM.RAdam, formulas.radam, {**ADAM, "b2": 0.9}, {}),
    (OPTIM.RMSprop, formulas.rmsprop, {"lr": 0.05, "alpha": 0.7, "momentum": 0.4, "eps": 0.01}, {"centered": True}),
    (OPTIM.RMSprop, formulas.rmsprop, {"lr": 0.05, "weight_decay": 0.0, "momentum": 0.0}, {}),
    (OPTIM.Adagrad, formulas.adagrad, {"lr": 0.1, "lr_decay": 0.1, "eps": 0.1, "weight_decay": 0.2}, {}),
    (OPTIM.Adadelta, formulas.adadelta, {"lr": 1.0, "rho": 0.7, "eps": 0.01, "weight_decay": 0.2}, {}),
    (OPTIM.ASGD, formulas.asgd, {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "weight_decay": 0.2}, {"t0": 2}),
    (OPTIM.Rprop, formulas.rprop, {"lr": 0.1, "less": 0.4, "more": 1.3, "most": 0.15}, {}),
    (torchopt.sgd, formulas.sgd_torchopt, {"lr": 0.1, "weight_decay": 0.2, "momentum": 0.5, "dampening": 0.3}, {}),
    (torchopt.sgd, formulas.sgd_torchopt, {"lr": 0.1, "momentum": 0.5}, {"nesterov": True}),
    (torchopt.sgd, formulas.sgd_torchopt, {"lr": 0.05, "weight_decay": 0.0, "momentum": 0.0}, {"maximize": True}),
    (torchopt.adam, formulas.adam, {**ADAM, "eps_root": 0.01}, {}),
    (torchopt.adamw, formulas.adamw, {**ADAM, "weight_decay": 0.0}, {}),
    (torchopt.adamax, formulas.adamax, ADAM, {}),
    (torchopt.rmsprop, formulas.rmsprop, {"lr": 0.05, "alpha": 0.7, "momentum": 0.4, "eps": 0.01}, {"centered": True}),
    (torchopt.adagrad, formulas.adagrad, {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5}, {}),
    (torchopt.adadelta, formulas.adadelta, {"lr": 1.0, "rho": 0.7, "eps": 0.01, "weight_decay": 0.2}, {}),
]


def name(case):
    kind, _, settings, rest = case
    return "-".join([kind.__module__.split(".")[0], kind.__name__, *rest, *settings])


def update_of(kind, rest):
    def make(v):
        settings = {**paired(dict(v.h)), **rest}
        return kind(**settings) if kind.__module__.startswith("torchopt") else functools.partial(kind, **settings)

    return make


@pytest.mark.parametrize("case", CASES, ids=name)
def test_the_derivative_equals_a_loop_by_hand(case, double):
    kind, rule, settings, rest = case
    found = mlo.hypergradient(graph(update_of(kind, rest), numbers(**settings)), of="h")
    h = {key: value.requires_grad_() for key, value in numbers(**settings).items()}
    start = dict(paired(h))
    start.setdefault("weight_decay", 0.0)  # AdamW by hand has torch's default
    end = unrolled(rule, slope, X0, STEPS, {**start, **rest})
    truth = torch.autograd.grad(upper(end), list(h.values()))
    for key, value in zip(h, truth, strict=True):
        assert torch.allclose(found[key], value, rtol=1e-9, atol=1e-11), key


@pytest.mark.parametrize("kind", [OPTIM.Adam, OPTIM.SGD, torchopt.adam], ids=lambda kind: kind.__module__)
def test_the_checker_agrees(kind):
    settings = {"lr": 0.1, "b1": 0.6, "b2": 0.8} if kind is not OPTIM.SGD else {"lr": 0.1, "momentum": 0.5}
    check_hypergradient(graph(update_of(kind, {}), numbers(**settings)), of="h")


def test_one_tensor_is_seen_as_it_is():
    rate = torch.tensor(-2.0, dtype=F64)
    found = mlo.hypergradient(graph(lambda v: torchopt.sgd(v.h.exp()), rate), of="h")
    by_key = mlo.hypergradient(graph(lambda v: functools.partial(OPTIM.SGD, lr=v["h"].exp()), rate), of="h")
    rate = rate.clone().requires_grad_()
    (truth,) = torch.autograd.grad(upper(unrolled(formulas.sgd, slope, X0, STEPS, {"lr": rate.exp()})), rate)
    assert float(found) == pytest.approx(float(truth), rel=1e-12)
    assert float(by_key) == pytest.approx(float(truth), rel=1e-12)


def test_clipping_limits_are_learned_too():
    start = numbers(lr=0.1, limit=0.8)

    def make(v):
        return mlo.Clipped(functools.partial(OPTIM.SGD, lr=v.h["lr"]), max_norm=v.h["limit"])

    found = mlo.hypergradient(graph(make, start), of="h")
    inside = mlo.hypergradient(
        graph(lambda v: torchopt.chain(mlo.clip_norm(v.h["limit"]), torchopt.sgd(v.h["lr"])), start), of="h"
    )
    h = {key: value.clone().requires_grad_() for key, value in start.items()}

    def clipped(x):
        return slope(x) * (h["limit"] / slope(x).norm()).clamp(max=1.0)

    truth = torch.autograd.grad(upper(unrolled(formulas.sgd, clipped, X0, STEPS, {"lr": h["lr"]})), list(h.values()))
    for key, value in zip(h, truth, strict=True):
        assert float(found[key]) == pytest.approx(float(value), rel=1e-12)
        assert float(inside[key]) == pytest.approx(float(value), rel=1e-12)
    assert float(found["limit"]) != 0


def test_a_learned_schedule():
    start = numbers(first=0.1, ratio=0.8)
    found = mlo.hypergradient(graph(lambda v: torchopt.sgd(lambda n: v.h["first"] * v.h["ratio"] ** n), start), of="h")
    h = {key: value.clone().requires_grad_() for key, value in start.items()}
    end = unrolled(formulas.sgd, slope, X0, STEPS, lambda n: {"lr": h["first"] * h["ratio"] ** n})
    for key, value in zip(h, torch.autograd.grad(upper(end), list(h.values())), strict=True):
        assert float(found[key]) == pytest.approx(float(value), rel=1e-12)


@pytest.mark.parametrize("kind", [OPTIM.Adam, torchopt.adam])
def test_below_a_middle_problem_it_is_exact_too(kind):
    # The middle problem learns the step size of the lowest one, and is itself differentiated.
    def make(v):
        return kind(lr=v.y.exp()) if kind is torchopt.adam else functools.partial(kind, lr=v.y.exp())

    top = mlo.Problem("z", lambda v, b: upper(v.x) + v.y.sum(), torch.tensor(0.3, dtype=F64), reads=["x", "y"])
    middle = mlo.Problem(
        "y",
        lambda v, b: upper(v.x) + (v.y - v.z) ** 2,
        torch.tensor(-2.0, dtype=F64),
        reads=["x", "z"],
        update=functools.partial(OPTIM.RMSprop, lr=0.1),
        steps=2,
    )
    lowest = mlo.Problem("x", lambda v, b: lower(v.x), X0, update=mlo.Learned(make, reads=["y"]), steps=3)
    check_hypergradient(mlo.ProblemGraph([top, middle, lowest]), of="z")


def test_an_engine_learns_a_step_size_and_carries_the_state_on():
    start = torch.tensor(-4.0, dtype=F64)
    problems = graph(lambda v: functools.partial(OPTIM.Adam, lr=v.h.exp()), start)
    engine = mlo.Engine(problems)
    reports = list(engine.run(3))
    assert reports[-1].losses["h"] < reports[0].losses["h"]
    count = next(iter(engine._states["x"][1][1].values()))["step"]
    assert count == 3 * STEPS
    assert not engine.values["x"].requires_grad


def test_the_same_answer_twice_and_nothing_is_kept():
    problems = graph(update_of(OPTIM.SGD, {}), numbers(lr=0.1, momentum=0.5))
    once, again = (mlo.hypergradient(problems, of="h") for _ in range(2))
    assert all(torch.equal(once[key], again[key]) for key in once)
    assert not any(value.requires_grad for value in problems["h"].variable.values())
