"""Update rules: pure functions of their arguments, and clipping with its derivative."""

import pytest
import torch
import torchopt
from hypothesis import given
from hypothesis import strategies as st

import mlo
from mlo.update import TorchOptUpdate, as_update, detach_state, split_state

F64 = torch.float64
RULES = {
    "sgd": lambda: torchopt.sgd(0.1),
    "nesterov": lambda: torchopt.sgd(0.1, momentum=0.9, nesterov=True),
    "dampening": lambda: torchopt.sgd(0.1, momentum=0.9, dampening=0.5),
    "adam": lambda: torchopt.adam(0.1),
    "adamw": lambda: torchopt.adamw(0.1, weight_decay=0.1),
    "rmsprop": lambda: torchopt.rmsprop(0.1, momentum=0.9),
    "schedule": lambda: torchopt.sgd(torchopt.schedule.linear_schedule(0.2, 0.1, 5)),
    "clipped": lambda: torchopt.chain(mlo.clip_norm(0.1), torchopt.adam(0.1)),
}


def params():
    return {"a": torch.tensor([1.0, -2.0], dtype=F64), "b": torch.tensor(0.5, dtype=F64)}


def gradient():
    return {"a": torch.tensor([0.3, 0.1], dtype=F64), "b": torch.tensor(-0.7, dtype=F64)}


def trained(rule, steps=3):
    x, state = params(), rule.init(params())
    for _ in range(steps):
        x, state = rule.apply(x, gradient(), state, {})
    return x


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_a_function_of_its_arguments(name):
    # Also of a transformation that torchopt gives a hidden flag of having been called.
    rule = as_update("w", RULES[name]())
    first, again, other = trained(rule), trained(rule), trained(as_update("w", RULES[name]()))
    assert all(torch.equal(first[key], again[key]) and torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_changes_nothing_in_place(name):
    rule, x, g = as_update("w", RULES[name]()), params(), gradient()
    state = rule.init(x)
    before = [value.clone() for value in split_state(state)[0]]
    rule.apply(x, g, state, {})
    assert all(torch.equal(x[key], params()[key]) and torch.equal(g[key], gradient()[key]) for key in x)
    assert all(torch.equal(value, old) for value, old in zip(split_state(state)[0], before, strict=True))


@pytest.mark.parametrize("name", RULES)
def test_a_state_is_taken_apart_and_put_together(name):
    rule = as_update("w", RULES[name]())
    _, state = rule.apply(params(), gradient(), rule.init(params()), {})
    values, rebuild = split_state(state)
    again, _ = split_state(rebuild([2 * value for value in values]))
    assert all(torch.equal(2 * value, twice) for value, twice in zip(values, again, strict=True))
    assert all(not value.requires_grad for value in split_state(detach_state(state))[0])


# Clipping ------------------------------------------------------------------------------------------------------------


def clip(limit, g):
    transformation = mlo.clip_norm(limit)
    return transformation.update({"g": g}, transformation.init({"g": g}), inplace=False)[0]["g"]


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=4), st.floats(0.1, 10))
def test_clipping_keeps_the_direction_and_bounds_the_norm(entries, limit):
    g = torch.tensor(entries, dtype=F64)
    found = clip(limit, g)
    assert float(found.norm()) <= limit * (1 + 1e-15)
    assert torch.allclose(found * g.norm().clamp(min=limit), g * limit, rtol=1e-12)


def test_the_derivative_goes_through_the_norm():
    # d (L g / |g|) = L (I - n n^T) / |g|.
    g = torch.tensor([3.0, 4.0], dtype=F64)
    n = g / 5
    truth = 2.0 * (torch.eye(2, dtype=F64) - torch.outer(n, n)) / 5
    found = torch.autograd.functional.jacobian(lambda g: clip(2.0, g), g)
    assert torch.allclose(found, truth, rtol=1e-14, atol=1e-16)
    assert torch.equal(torch.autograd.functional.jacobian(lambda g: clip(6.0, g), g), torch.eye(2, dtype=F64))


def test_all_tensors_count_together():
    transformation = mlo.clip_norm(1.0)
    found, _ = transformation.update({"a": torch.tensor([3.0]), "b": torch.tensor(4.0)}, (), inplace=False)
    assert torch.allclose(found["a"], torch.tensor([0.6]))
    assert torch.allclose(found["b"], torch.tensor(0.8))


def test_a_zero_gradient_passes_with_finite_derivatives_of_both_orders():
    g = torch.zeros(2, dtype=F64)
    assert torch.equal(clip(1.0, g), g)
    assert torch.equal(torch.autograd.functional.jacobian(lambda g: clip(1.0, g), g), torch.eye(2, dtype=F64))
    hessian = torch.autograd.functional.hessian(lambda g: (clip(1.0, g) ** 2).sum(), g)
    assert torch.allclose(hessian, 2 * torch.eye(2, dtype=F64))


def test_one_zero_tensor_among_others_keeps_all_derivatives_finite():
    def scale(x):
        found, _ = mlo.clip_norm(1.0).update({"dead": 0 * x, "alive": x}, (), inplace=False)
        return (found["alive"] ** 3).sum() + found["dead"].sum()

    x = torch.tensor([3.0, 4.0], dtype=F64)
    truth = torch.autograd.functional.hessian(lambda x: ((x / x.norm()) ** 3).sum(), x)
    assert torch.allclose(torch.autograd.functional.hessian(scale, x), truth, rtol=1e-12)


def test_at_the_limit_the_derivative_is_one_of_the_two_sides():
    g = torch.tensor([3.0, 4.0], dtype=F64)
    n = g / 5
    assert torch.equal(clip(5.0, g), g)
    found = torch.autograd.functional.jacobian(lambda g: clip(5.0, g), g)
    inside, outside = torch.eye(2, dtype=F64), torch.eye(2, dtype=F64) - torch.outer(n, n)
    assert torch.allclose(found, inside) or torch.allclose(found, outside)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_limit_that_is_not_positive_is_refused(limit):
    with pytest.raises(mlo.ConfigError, match="max_norm"):
        mlo.clip_norm(limit)


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
def test_sound_rules_are_not_suspected(name):
    assert as_update("w", RULES[name]()).undifferentiable() is None


def test_torchopt_clipping_is_found_in_a_chain():
    chain = torchopt.chain(torchopt.clip.clip_grad_norm(1.0), torchopt.sgd(0.1))
    assert "mlo.clip_norm" in as_update("w", chain).undifferentiable()


@pytest.mark.parametrize("given", [0.1, "sgd", torch.optim.lr_scheduler.StepLR, [torch.optim.SGD]])
def test_what_is_no_transformation_is_refused(given):
    with pytest.raises(mlo.GraphError, match=r"'w'.*torchopt"):
        as_update("w", given)


def test_a_rule_is_taken_as_it_is():
    rule = TorchOptUpdate(torchopt.sgd(0.1))
    assert as_update("w", rule) is rule
