"""A hypergradient changes nothing, whatever the rule and however it ends. Equality is bit for bit throughout."""

from __future__ import annotations

import copy
import random

import numpy
import pytest
import torch
import torchopt
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import mlo
from mlo.rng import RandomState

# What is stopped after three products on purpose has not converged.
pytestmark = pytest.mark.filterwarnings("ignore::mlo.UnconvergedWarning")

FD = mlo.FiniteDifference()
RULES = {
    "unroll": mlo.Unroll(),
    "unroll-fd": mlo.Unroll(product=FD),
    "implicit": mlo.Implicit(mlo.CG(max_steps=3)),
    "implicit-fd": mlo.Implicit(mlo.CG(max_steps=3), product=FD),
    "first": mlo.FirstOrder(),
}
rules = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())


def noisy_net():
    """Everything that is easily disturbed: running statistics, dropout, a frozen layer, a shared tensor."""
    net = nn.Sequential(
        nn.Linear(3, 4),
        nn.BatchNorm1d(4),
        nn.Tanh(),
        nn.Dropout(0.5),
        nn.Linear(4, 4),
        nn.Linear(4, 4),
        nn.Linear(4, 1),
    )
    net[4].requires_grad_(False)
    net[5].weight = net[4].weight
    return net.double()


def fit(v, batch):
    noise = random.random() + numpy.random.rand() + torch.rand((), dtype=torch.float64)
    decay = sum((p**2).sum() for p in v.net.params.values())
    return ((v.net(batch) - noise) ** 2).mean() + v.scale.exp() * decay


def validate(v, batch):
    return ((v.net(batch) - 1) ** 2).mean() + 0.1 * (v.scale**2).sum() * torch.rand((), dtype=torch.float64)


def data(generator=None):
    rows = torch.linspace(-1, 1, 36, dtype=torch.float64).reshape(12, 3)
    return DataLoader(TensorDataset(rows), batch_size=4, shuffle=True, generator=generator, collate_fn=_stack)


def _stack(rows):
    return torch.stack([row for (row,) in rows])


def make(rule, *, net=None, scale=None, fit=fit, validate=validate, batches=None, steps=3):
    scale = torch.tensor(-2.0, dtype=torch.float64) if scale is None else scale
    net = noisy_net() if net is None else net
    lower = {"update": torchopt.sgd(0.05, momentum=0.9), "steps": steps, "response": rule}
    return mlo.ProblemGraph(
        [
            mlo.Problem("scale", validate, scale, reads=["net"], update=torchopt.adam(0.01), batches=data()),
            mlo.Problem("net", fit, net, reads=["scale"], batches=data() if batches is None else batches, **lower),
        ]
    )


def snapshot(net, scale, *generators):
    """Everything that a hypergradient could disturb, as something that `same` compares."""
    tensors = [*net.parameters(), *net.buffers(), scale]
    return {
        "tensors": [(t.detach().clone(), t.requires_grad, t._version, t.is_leaf) for t in tensors],
        "grads": [None if t.grad is None else t.grad.clone() for t in tensors],
        "modes": [(module.training, len(module._forward_hooks)) for module in net.modules()],
        "random": [torch.get_rng_state(), random.getstate(), *[g.get_state() for g in generators]],
        "numpy": numpy.random.get_state(legacy=False)["state"],
    }


def same(left, right):
    if isinstance(left, torch.Tensor | numpy.ndarray):
        return bool((left == right).all())
    if isinstance(left, dict):
        return all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


@rules
@pytest.mark.parametrize("with_grads", [False, True])
def test_nothing_is_changed(rule, with_grads):
    net, scale = noisy_net(), nn.Parameter(torch.tensor(-2.0, dtype=torch.float64))
    if with_grads:
        net(torch.ones(4, 3, dtype=torch.float64)).sum().backward()
        scale.grad = torch.tensor(7.0, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    graph = make(rule, net=net, scale=scale, batches=data(generator))
    before = snapshot(net, scale, generator)
    mlo.hypergradient(graph, of="scale")
    after = snapshot(net, scale, generator)
    for part, was in before.items():
        assert same(was, after[part]), part


@rules
def test_values_that_are_given_are_not_changed(rule):
    net, scale = noisy_net(), torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    graph = make(rule, net=copy.deepcopy(net))
    before = snapshot(net, scale)
    mlo.hypergradient(graph, of="scale", values={"net": net, "scale": scale})
    assert same(before, snapshot(net, scale))


@rules
def test_twice_the_same_bits(rule):
    graph = make(rule)
    assert torch.equal(mlo.hypergradient(graph, of="scale"), mlo.hypergradient(graph, of="scale"))
    torch.rand(1)  # with another state of the generator it is another number: the noise is real
    assert not torch.equal(mlo.hypergradient(graph, of="scale"), mlo.hypergradient(make(rule), of="scale"))


@rules
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_gradient_mode_does_not_matter(rule, mode):
    graph, engines = make(rule), []
    state, expected = RandomState.capture(), mlo.hypergradient(graph, of="scale")
    engines.append(_stepped(graph))
    state.restore()
    with mode():
        assert torch.equal(mlo.hypergradient(graph, of="scale"), expected)
        engines.append(_stepped(graph))
        assert not torch.is_grad_enabled()
    first, second = (engine.values for engine in engines)
    assert torch.equal(first["scale"], second["scale"])
    assert all(torch.equal(value, second["net"][name]) for name, value in first["net"].items())


def _stepped(graph):
    engine = mlo.Engine(graph)
    engine.step()
    return engine


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_three_levels_under_the_callers_gradient_mode(mode):
    # A nested solve is differentiated as a whole: the mode of the caller must not cut it anywhere.
    update = {"update": torchopt.sgd(0.1), "steps": 2}
    u = mlo.Problem("u", lambda v, b: v.m * v.u, _number(1), reads=["m"], update=torchopt.sgd(0.1))
    m = mlo.Problem("m", lambda v, b: v.low**2 + (v.m - v.u) ** 2, _number(0), reads=["low", "u"], **update)
    low = mlo.Problem("low", lambda v, b: (v.low - v.m * v.u) ** 2, _number(0), reads=["m", "u"], **update)
    graph = mlo.ProblemGraph([u, m, low])
    expected = mlo.hypergradient(graph, of="u")
    with mode():
        assert torch.equal(mlo.hypergradient(graph, of="u"), expected)
        assert mlo.Engine(graph).step().norms["u"] == float(expected.abs())


def _number(value):
    return torch.tensor(float(value), dtype=torch.float64)


@rules
@pytest.mark.parametrize("call", [1, 3, 4])
def test_nothing_is_changed_when_a_loss_raises(rule, call):
    net, scale, calls = noisy_net(), nn.Parameter(torch.tensor(-2.0, dtype=torch.float64)), []

    def failing(v, batch):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return fit(v, batch) if "net" in v else validate(v, batch)

    graph = make(rule, net=net, scale=scale, fit=failing, validate=failing)
    before = snapshot(net, scale)
    with pytest.raises(KeyboardInterrupt):
        mlo.hypergradient(graph, of="scale")
    assert same(before, snapshot(net, scale))


def test_the_place_in_the_batches_is_kept():
    batches = [torch.full((4, 3), float(i), dtype=torch.float64) for i in range(3)]
    seen = []

    def spying(v, batch):
        seen.append(int(batch[0, 0]))
        return fit(v, batch)

    graph = make(mlo.FirstOrder(), batches=batches, fit=spying, steps=1)
    engine = mlo.Engine(graph)
    for _ in engine.run(4):
        mlo.hypergradient(graph, of="scale", values=engine.values)
    # The engine goes through the list and begins anew; every hypergradient sees the first batch.
    assert seen[0::2] == [0, 1, 2, 0]
    assert seen[1::2] == [0, 0, 0, 0]


def tracked(engine, name):
    return int(engine.export(name)[1].num_batches_tracked)


@rules
@pytest.mark.parametrize("look_ahead", [False, True])
def test_statistics_follow_the_real_steps_only(rule, look_ahead):
    # 3 real steps of the net in each engine step; virtual ones, products and the reads of "scale" leave no trace.
    net = noisy_net()
    graph = make(rule, net=net, batches=[torch.eye(4, 3, dtype=torch.float64)])
    engine = mlo.Engine(graph, look_ahead=look_ahead)
    for count in (3, 6):
        engine.step()
        assert tracked(engine, "net") == count
    assert int(net[1].num_batches_tracked) == 0
    assert not torch.equal(engine.export("net")[1].running_mean, net[1].running_mean)


def test_statistics_of_an_outermost_module():
    def loss(v, batch):
        return v.top(torch.eye(4, 3, dtype=torch.float64)).mean()

    engine = mlo.Engine(mlo.ProblemGraph([mlo.Problem("top", loss, noisy_net(), update=torchopt.sgd(0.1))]))
    for count in (1, 2):
        engine.step()
        assert tracked(engine, "top") == count
