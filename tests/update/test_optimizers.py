"""Every optimizer of torch.optim and of torchopt that can be differentiated, against torch itself and against hand."""

import functools

import pytest
import torch
import torchopt

import mlo
from mlo.update import as_update, split_state
from tests.update import formulas
from tests.update.formulas import central, unrolled

F64 = torch.float64
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


X0 = torch.tensor([0.9, -1.3, 0.4], dtype=F64)
Z0 = torch.tensor([0.3, -0.8, 0.5], dtype=F64)
MIX = torch.tensor([[2.0, 0.3, -0.2], [0.3, 1.0, 0.4], [-0.2, 0.4, 1.5]], dtype=F64)


def lower(x, z):
    return 0.5 * x @ MIX @ x + (x**4).sum() / 10 - (torch.sin(z) * x).sum()


def slope(z):
    return lambda x: MIX @ x + 0.4 * x**3 - torch.sin(z)


def upper(x):
    return ((x - 1) ** 2).sum() + (x**3).sum() / 5


def graph(update, steps=STEPS, response=None):
    def inner(v, batch):
        return lower(v.x, v.z)

    return mlo.ProblemGraph(
        [
            mlo.Problem("z", lambda v, batch: upper(v.x), Z0, reads=["x"]),
            mlo.Problem("x", inner, X0, reads=["z"], update=update, steps=steps, response=response or mlo.Unroll()),
        ]
    )


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


# What torch does not differentiate -----------------------------------------------------------------------------------


class Home(OPTIM.Optimizer):
    """An optimizer of somebody's own: plain gradient descent, cubed."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["seen"] = self.state[p].get("seen", 0) + 1
                p.add_(p.grad**3, alpha=-group["lr"] / self.state[p]["seen"])


class OwnStep(OPTIM.SGD):
    """A subclass that does something else."""

    @torch.no_grad()
    def step(self, closure=None):
        super().step()


class Forgetful(Home):
    """Keeps a count where a step on copies loses it."""

    count = 0

    def step(self, closure=None):
        self.param_groups[0]["k"] = self.param_groups[0].get("k", 0) + 1
        super().step()


@pytest.mark.parametrize("kind", [OPTIM.Adafactor, Home, OwnStep])
def test_what_cannot_be_differentiated_is_refused_by_name_where_it_would_be(kind):
    with pytest.raises(mlo.GraphError, match=rf"'x' cannot be unrolled.*{kind.__name__}"):
        graph(kind)
    found = mlo.hypergradient(graph(functools.partial(kind, lr=0.1), response=mlo.FirstOrder()), of="z")
    assert torch.equal(found, torch.zeros_like(Z0))


@pytest.mark.parametrize("kind", [OPTIM.Adafactor, Home, OwnStep])
def test_where_only_numbers_count_it_makes_its_steps(kind, double):
    x = X0.clone().requires_grad_()
    optimizer = kind([x], lr=0.1)
    rule = as_update("x", functools.partial(kind, lr=0.1), X0)
    ours, state = {"value": X0}, rule.init({"value": X0})
    for _ in range(4):
        x.grad = slope(Z0)(x.detach())
        optimizer.step()
        with torch.no_grad():
            ours, state = rule.apply(ours, {"value": slope(Z0)(ours["value"])}, state, {})
    assert torch.allclose(ours["value"], x.detach(), rtol=1e-13)


def test_muon_makes_its_steps_too():
    start = torch.eye(3, 2)
    x = start.clone().requires_grad_()
    optimizer = OPTIM.Muon([x], lr=0.1)
    rule = as_update("x", functools.partial(OPTIM.Muon, lr=0.1), start)
    ours, state = {"value": start}, rule.init({"value": start})
    for _ in range(3):
        x.grad = x.detach() ** 3 + 1
        optimizer.step()
        with torch.no_grad():
            ours, state = rule.apply(ours, {"value": ours["value"] ** 3 + 1}, state, {})
    assert torch.allclose(ours["value"], x.detach(), rtol=1e-6)


@pytest.mark.parametrize("kind", [OPTIM.LBFGS, OPTIM.SparseAdam])
def test_what_is_no_function_of_a_gradient_is_refused_at_once(kind):
    with pytest.raises(mlo.GraphError, match=rf"'x': {kind.__name__} cannot be an update.*use torch\.optim"):
        mlo.Problem("x", lambda v, batch: v.x.sum(), X0, update=kind)


def test_an_optimizer_that_remembers_elsewhere_is_refused():
    with pytest.raises(mlo.GraphError, match=r"'x': Forgetful keeps .*'k'.*self\.state"):
        mlo.hypergradient(graph(Forgetful, response=mlo.FirstOrder()), of="z")
