"""Every optimizer of torch.optim and of torchopt that can be differentiated, against torch itself and against hand."""

import functools

import pytest
import torch
import torchopt
from hypothesis import given
from hypothesis import strategies as st

import mlo
from mlo.update import as_update, split_state
from tests.update import formulas
from tests.update.bowl import F64, X0, Z0, graph, slope, upper
from tests.update.formulas import central, unrolled

STEPS = 7
OPTIM = torch.optim
# (class, formula, settings)
TORCH = [
    (OPTIM.SGD, formulas.sgd, {"lr": 0.1}),
    (OPTIM.SGD, formulas.sgd, {"lr": 0.1, "momentum": 0.9}),
    (OPTIM.SGD, formulas.sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (OPTIM.SGD, formulas.sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.1}),
    (OPTIM.SGD, formulas.sgd, {"lr": 0.01, "momentum": 0.5, "maximize": True}),
    (OPTIM.Adam, formulas.adam, {"lr": 0.1}),
    (OPTIM.Adam, formulas.adam, {"lr": 0.1, "betas": (0.5, 0.8), "eps": 0.01, "weight_decay": 0.1}),
    (OPTIM.Adam, formulas.adam, {"lr": 0.1, "betas": (0.5, 0.3), "amsgrad": True, "maximize": True}),
    (OPTIM.AdamW, formulas.adamw, {"lr": 0.1}),
    (OPTIM.AdamW, formulas.adamw, {"lr": 0.1, "betas": (0.5, 0.3), "weight_decay": 0.3, "amsgrad": True}),
    (OPTIM.Adamax, formulas.adamax, {"lr": 0.1, "betas": (0.9, 0.8), "weight_decay": 0.1}),
    (OPTIM.Adamax, formulas.adamax, {"lr": 0.1, "maximize": True}),
    (OPTIM.NAdam, formulas.nadam, {"lr": 0.1}),
    (OPTIM.NAdam, formulas.nadam, {"lr": 0.1, "momentum_decay": 0.1, "weight_decay": 0.1}),
    (OPTIM.NAdam, formulas.nadam, {"lr": 0.1, "decoupled_weight_decay": True, "weight_decay": 0.1}),
    (OPTIM.RAdam, formulas.radam, {"lr": 0.1}),
    (OPTIM.RAdam, formulas.radam, {"lr": 0.1, "betas": (0.9, 0.95), "weight_decay": 0.1}),
    (OPTIM.RAdam, formulas.radam, {"lr": 0.1, "decoupled_weight_decay": True, "weight_decay": 0.1}),
    (OPTIM.RMSprop, formulas.rmsprop, {"lr": 0.05}),
    (OPTIM.RMSprop, formulas.rmsprop, {"lr": 0.05, "alpha": 0.8, "centered": True, "momentum": 0.6}),
    (OPTIM.RMSprop, formulas.rmsprop, {"lr": 0.05, "eps": 0.1, "weight_decay": 0.1, "maximize": True}),
    (OPTIM.Adagrad, formulas.adagrad, {"lr": 0.1}),
    (
        OPTIM.Adagrad,
        formulas.adagrad,
        {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.1},
    ),
    (OPTIM.Adadelta, formulas.adadelta, {"lr": 1.0}),
    (OPTIM.Adadelta, formulas.adadelta, {"lr": 1.0, "rho": 0.7, "eps": 0.01, "weight_decay": 0.1}),
    (OPTIM.ASGD, formulas.asgd, {"lr": 0.1}),
    (OPTIM.ASGD, formulas.asgd, {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 2, "weight_decay": 0.1}),
    (OPTIM.Rprop, formulas.rprop, {"lr": 0.1}),
    (OPTIM.Rprop, formulas.rprop, {"lr": 0.1, "etas": (0.3, 1.5), "step_sizes": (0.05, 0.2)}),
]
TORCHOPT = [
    (torchopt.sgd, formulas.sgd_torchopt, {"lr": 0.1, "weight_decay": 0.1}),
    (torchopt.sgd, formulas.sgd_torchopt, {"lr": 0.1, "momentum": 0.9, "dampening": 0.4}),
    (torchopt.sgd, formulas.sgd_torchopt, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (torchopt.sgd, formulas.sgd_torchopt, {"lr": 0.01, "momentum": 0.9, "maximize": True, "weight_decay": 0.1}),
    (torchopt.adam, formulas.adam, {"lr": 0.1, "betas": (0.5, 0.8), "eps_root": 0.01, "weight_decay": 0.1}),
    (torchopt.adamw, formulas.adamw, {"lr": 0.1, "weight_decay": 0.3}),
    (torchopt.adamax, formulas.adamax, {"lr": 0.1, "betas": (0.9, 0.8), "eps": 1e-3, "weight_decay": 0.1}),
    (torchopt.radam, formulas.radam, {"lr": 0.1, "betas": (0.9, 0.95), "eps": 1e-3}),
    (torchopt.rmsprop, formulas.rmsprop, {"lr": 0.05, "alpha": 0.8, "momentum": 0.6}),
    (torchopt.rmsprop, formulas.rmsprop, {"lr": 0.05, "alpha": 0.8, "centered": True, "weight_decay": 0.1}),
    (torchopt.adagrad, formulas.adagrad, {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    (torchopt.adadelta, formulas.adadelta, {"lr": 1.0, "rho": 0.7, "eps": 0.01, "weight_decay": 0.1}),
]


def name(case):
    kind, _, settings = case
    return f"{kind.__module__.split('.')[0]}-{kind.__name__}-" + "-".join(key for key in settings if key != "lr")


def by_hand(rule, settings):
    z = Z0.clone().requires_grad_()
    (found,) = torch.autograd.grad(upper(unrolled(rule, slope(z), X0, STEPS, settings)), z, allow_unused=True)
    return torch.zeros_like(z) if found is None else found


@pytest.mark.parametrize("case", TORCH, ids=name)
def test_steps_are_those_of_torch(case, double):
    kind, _, settings = case
    x = X0.clone().requires_grad_()
    optimizer = kind([x], **settings)
    rule = as_update("x", functools.partial(kind, **settings), X0)
    ours, state = {"value": X0}, rule.init({"value": X0})
    recorded, history = {"value": X0.clone().requires_grad_()}, rule.init({"value": X0})
    for _ in range(STEPS):
        x.grad = slope(Z0)(x.detach())
        optimizer.step()
        with torch.no_grad():
            ours, state = rule.apply(ours, {"value": slope(Z0)(ours["value"])}, state, {})
        recorded, history = rule.apply(recorded, {"value": slope(Z0)(recorded["value"])}, history, {})
    assert not ours["value"].requires_grad
    assert ours["value"].grad is None
    assert not any(value.requires_grad for value in split_state(state)[0])
    # Rounding alone: torch takes other roads to the same number where autograd records.
    assert torch.allclose(ours["value"], x.detach(), rtol=1e-14, atol=1e-15)
    assert torch.allclose(recorded["value"].detach(), x.detach(), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("case", TORCH, ids=name)
def test_the_hypergradient_equals_a_loop_by_hand(case):
    kind, rule, settings = case
    found = mlo.hypergradient(graph(functools.partial(kind, **settings)), of="z")
    # Rounding grows by the sensitivity of seven steps; 1e-10 leaves room for roots of small second moments.
    assert torch.allclose(found, by_hand(rule, settings), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", TORCHOPT, ids=name)
def test_the_hypergradient_through_torchopt_equals_a_loop_by_hand(case, double):
    # torchopt's bias corrections are numbers of the default type: in float32 adamw is off by 2e-5 here.
    make, rule, settings = case
    found = mlo.hypergradient(graph(make(**settings)), of="z")
    assert torch.allclose(found, by_hand(rule, settings), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", [formulas.sgd, formulas.adam, formulas.radam], ids=lambda rule: rule.__name__)
def test_the_loops_by_hand_have_the_derivative_of_what_they_compute(rule):
    settings = {"lr": 0.1, "momentum": 0.9}
    truth = central(lambda z: upper(unrolled(rule, slope(z), X0, STEPS, settings)), Z0)
    # Central differences of step 1e-5 in float64 are right to about 1e-10 of values of size one.
    assert torch.allclose(by_hand(rule, settings), truth, rtol=1e-7, atol=1e-8)


@given(
    shape=st.sampled_from([(), (1,), (3,), (2, 3)]),
    seed=st.integers(0, 2**16),
    steps=st.integers(1, 5),
    lr=st.floats(0.01, 0.2),
    decay=st.floats(0.0, 0.5),
    momentum=st.floats(0.0, 0.9),
)
def test_any_shape_and_setting_equals_a_loop_by_hand(shape, seed, steps, lr, decay, momentum):
    generator = torch.Generator().manual_seed(seed)
    start, goal = (torch.randn(shape, generator=generator, dtype=F64) for _ in range(2))
    cases = [
        (OPTIM.SGD, formulas.sgd, {"lr": lr, "weight_decay": decay, "momentum": momentum}),
        (OPTIM.AdamW, formulas.adamw, {"lr": lr, "weight_decay": decay, "betas": (momentum, 0.9), "eps": 0.01}),
    ]
    for kind, rule, settings in cases:
        top = mlo.Problem("z", lambda v, batch: (v.x**3).sum(), goal, reads=["x"])
        lowest = mlo.Problem(
            "x",
            lambda v, batch: ((v.x - torch.sin(v.z)) ** 2).sum(),
            start,
            reads=["z"],
            update=functools.partial(kind, **settings),
            steps=steps,
        )
        found = mlo.hypergradient(mlo.ProblemGraph([top, lowest]), of="z")
        z = goal.clone().requires_grad_()
        end = unrolled(rule, lambda x, z=z: 2 * (x - torch.sin(z)), start, steps, settings)
        (truth,) = torch.autograd.grad((end**3).sum(), z)
        assert torch.allclose(found, truth, rtol=1e-10, atol=1e-12)


def test_a_counter_does_not_round_to_float32():
    # Torch's own step counter is float32 here: bias corrections would be off by 1e-8.
    assert torch.get_default_dtype() == torch.float32
    settings = {"lr": 0.1, "betas": (0.9, 0.9999)}
    found = mlo.hypergradient(graph(functools.partial(OPTIM.Adam, **settings)), of="z")
    assert torch.allclose(found, by_hand(formulas.adam, settings), rtol=1e-12)


@pytest.mark.parametrize("kind", [OPTIM.Adam, OPTIM.NAdam, OPTIM.RMSprop, OPTIM.Adagrad, OPTIM.RAdam])
def test_a_gradient_of_exactly_zero_is_explained(kind):
    # The root of a second moment that is zero has no derivative. Eight steps: RAdam takes no root in the first ones.
    def loss(v, batch):
        return ((v.x - v.z) ** 2).sum()

    lowest = mlo.Problem("x", loss, torch.ones(2, dtype=F64), reads=["z"], update=kind, steps=8)
    top = mlo.Problem("z", lambda v, batch: (v.x**2).sum() + (v.z**2).sum(), torch.ones(2, dtype=F64), reads=["x"])
    with pytest.raises(mlo.DivergenceError, match=r"'z'.*'x'.*torch\.optim.*exactly zero"):
        mlo.hypergradient(mlo.ProblemGraph([top, lowest]), of="z")
