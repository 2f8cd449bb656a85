"""Optimizers that torch does not differentiate: refused by name, except where only numbers count."""

import functools

import pytest
import torch
from torch import optim

import mlo
from mlo.update import as_update
from tests.update.bowl import X0, Z0, graph, slope


class Home(optim.Optimizer):
    """An optimizer of somebody's own: plain gradient descent, cubed."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["seen"] = self.state[p].get("seen", 0) + 1
                p.add_(p.grad**3, alpha=-group["lr"] / self.state[p]["seen"])


class OwnStep(optim.SGD):
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


@pytest.mark.parametrize("kind", [optim.Adafactor, Home, OwnStep])
def test_what_cannot_be_differentiated_is_refused_by_name_where_it_would_be(kind):
    with pytest.raises(mlo.GraphError, match=rf"'x' cannot be unrolled.*{kind.__name__}"):
        graph(kind)
    found = mlo.hypergradient(graph(functools.partial(kind, lr=0.1), response=mlo.FirstOrder()), of="z")
    assert torch.equal(found, torch.zeros_like(Z0))


@pytest.mark.parametrize("kind", [optim.Adafactor, Home, OwnStep])
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
    optimizer = optim.Muon([x], lr=0.1)
    rule = as_update("x", functools.partial(optim.Muon, lr=0.1), start)
    ours, state = {"value": start}, rule.init({"value": start})
    for _ in range(3):
        x.grad = x.detach() ** 3 + 1
        optimizer.step()
        with torch.no_grad():
            ours, state = rule.apply(ours, {"value": ours["value"] ** 3 + 1}, state, {})
    assert torch.allclose(ours["value"], x.detach(), rtol=1e-6)


@pytest.mark.parametrize("kind", [optim.LBFGS, optim.SparseAdam])
def test_what_is_no_function_of_a_gradient_is_refused_at_once(kind):
    with pytest.raises(mlo.GraphError, match=rf"'x': {kind.__name__} cannot be an update.*use torch\.optim"):
        mlo.Problem("x", lambda v, batch: v.x.sum(), X0, update=kind)


def test_an_optimizer_that_remembers_elsewhere_is_refused():
    with pytest.raises(mlo.GraphError, match=r"'x': Forgetful keeps .*'k'.*self\.state"):
        mlo.hypergradient(graph(Forgetful, response=mlo.FirstOrder()), of="z")
