"""What is optimized: three kinds of variables, and what goes in and out of them."""

from __future__ import annotations

import copy

import pytest
import torch
import torchopt
from torch import nn

import mlo
from mlo.module import BoundModule
from mlo.variable import SINGLE, as_variable


def scalar(value, dtype=torch.float64):
    return torch.tensor(float(value), dtype=dtype)


class Tied(nn.Module):
    """Two layers that share their weight, a frozen scale, a buffer, and a layer inside a layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.inner = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        self.last = nn.Linear(3, 3, bias=False)
        self.last.weight = self.first.weight
        self.scale = nn.Parameter(torch.tensor(2.0), requires_grad=False)
        self.register_buffer("shift", torch.ones(3))

    def forward(self, x):
        return self.scale * self.last(self.inner(self.first(x))) + self.shift


TRAINED = ["first.weight", "inner.0.weight", "inner.0.bias", "inner.1.weight", "inner.1.bias"]
BUFFERS = ["shift", "inner.1.running_mean", "inner.1.running_var", "inner.1.num_batches_tracked"]


@pytest.fixture
def net():
    return Tied().double()


def test_the_variable_of_a_module_is_what_it_trains(net):
    kind = as_variable("w", net)
    assert list(kind.initial()) == TRAINED
    assert sorted(kind.buffers()) == sorted(BUFFERS)


def test_everything_is_copied(net):
    for content in (net, {"a": scalar(1)}, scalar(1)):
        kind = as_variable("w", content)
        first, second = kind.initial(), kind.initial()
        for name, value in first.items():
            value.fill_(99)
            assert not value.requires_grad
            assert second[name].abs().sum() < 99
        assert kind.export(second, kind.buffers()) is not content


def test_a_bound_module_computes_with_its_own_tensors(net):
    kind = as_variable("w", net)
    params, buffers, x = kind.initial(), dict(kind.buffers()), torch.randn(4, 3, dtype=torch.float64)
    bound = kind.present({name: 2 * value for name, value in params.items()}, buffers)
    expected = copy.deepcopy(net)
    with torch.no_grad():
        for p in expected.parameters():
            if p.requires_grad:
                p.mul_(2)
    torch.testing.assert_close(bound(x), expected(x), rtol=1e-14, atol=1e-14)
    assert isinstance(bound, BoundModule)
    assert repr(bound) == "BoundModule(Tied, 5 parameters)"
    assert int(buffers["inner.1.num_batches_tracked"]) == 1
    assert int(net.inner[1].num_batches_tracked) == 0


def test_a_shared_tensor_gets_one_gradient_for_all_its_uses(net):
    net.eval()
    x = torch.randn(4, 3, dtype=torch.float64)
    graph = mlo.ProblemGraph([mlo.Problem("w", lambda v, b: v.w(x).pow(2).sum(), net)])
    found = mlo.hypergradient(graph, of="w")
    net(x).pow(2).sum().backward()
    for name, p in net.named_parameters():
        if p.requires_grad:
            torch.testing.assert_close(found[name], p.grad, rtol=1e-13, atol=1e-13)
    assert net.scale.grad is None
    assert list(found) == TRAINED


def test_an_export_keeps_ties_and_frozen_parameters(net):
    kind = as_variable("w", net)
    params = {name: value + 1 for name, value in kind.initial().items()}
    buffers = {**kind.buffers(), "shift": torch.full((3,), 5.0, dtype=torch.float64)}
    exported = kind.export(params, buffers)
    assert exported.last.weight is exported.first.weight
    assert torch.equal(exported.first.weight, params["first.weight"])
    assert [p.requires_grad for p in exported.parameters()] == [p.requires_grad for p in net.parameters()]
    assert torch.equal(exported.shift, buffers["shift"])
    assert torch.equal(net.shift, torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("form", ["module", "state dict", "parameters", "trained"])
def test_values_of_a_module(net, form):
    other = copy.deepcopy(net)
    with torch.no_grad():
        for p in other.parameters():
            if p.requires_grad:
                p.add_(1)
        other.shift.add_(1)
    forms = {
        "module": other,
        "state dict": other.state_dict(),
        "parameters": dict(other.named_parameters()),
        "trained": {name: p for name, p in other.named_parameters() if p.requires_grad},
    }
    params, buffers = as_variable("w", net).parse("w", forms[form])
    assert list(params) == TRAINED
    assert all(torch.equal(value, other.get_parameter(name)) for name, value in params.items())
    whole = form in ("module", "state dict")
    assert float(buffers["shift"][0]) == (2.0 if whole else 1.0)
    params["first.weight"].zero_()
    assert other.first.weight.abs().sum() > 0


def test_what_a_module_value_may_not_hold(net):
    kind = as_variable("w", net)
    other = copy.deepcopy(net)
    other.scale.data.fill_(3)
    with pytest.raises(mlo.GraphError, match=r"'w': the frozen entry 'scale'.*leave it out of the value"):
        kind.parse("w", other)
    with pytest.raises(mlo.GraphError, match=r"unknown entries \['0.weight'"):
        kind.parse("w", nn.Sequential(*net.inner, nn.Linear(3, 3)))
    state = {**net.state_dict(), "shift": torch.ones(4)}
    with pytest.raises(mlo.GraphError, match=r"'w', entry 'shift': expected a real tensor of shape \(3,\)"):
        kind.parse("w", state)


def test_a_value_takes_the_declared_dtype():
    kind = as_variable("w", torch.zeros(2, dtype=torch.float64))
    params, _ = kind.parse("w", torch.tensor([1, 2]))
    assert params[SINGLE].dtype == torch.float64
    assert kind.structure(params).tolist() == [1.0, 2.0]


def test_the_order_of_a_dict_is_kept_and_that_of_its_value_does_not_matter():
    kind = as_variable("w", {"b": scalar(1), "a": scalar(2)})
    params, _ = kind.parse("w", {"a": scalar(4), "b": scalar(3)})
    assert [(name, float(value)) for name, value in params.items()] == [("b", 3.0), ("a", 4.0)]
    graph = mlo.ProblemGraph([mlo.Problem("w", lambda v, b: v.w["a"] ** 2 + v.w["b"], kind.content)])
    assert list(mlo.hypergradient(graph, of="w")) == ["b", "a"]


def test_a_later_change_of_what_was_declared_does_not_reach_an_engine():
    w = torch.ones(2, dtype=torch.float64)
    problem = mlo.Problem("w", lambda v, b: (v.w**2).sum(), w, update=torchopt.sgd(0.1))
    engine = mlo.Engine(mlo.ProblemGraph([problem]))
    w.zero_()
    assert engine.values["w"].tolist() == [1.0, 1.0]


RULES = [mlo.Unroll(), mlo.Implicit(mlo.CG(tol=1e-7)), mlo.Implicit(mlo.Dense()), mlo.FirstOrder()]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_one_variable_of_two_dtypes(rule):
    # w* = (x, x) with one Newton step, so d (a + b)(x) / dx = 2; the float32 entry carries 1e-7.
    def lower(v, batch):
        return 0.5 * ((v.w["a"] - v.x) ** 2 + (v.w["b"].double() - v.x) ** 2)

    w = {"a": scalar(0), "b": scalar(0, torch.float32)}
    top = {"reads": ["w"], "update": torchopt.sgd(0.1)}
    top = mlo.Problem("x", lambda v, b: v.w["a"] + v.w["b"] + 0 * v.x, scalar(1), **top)
    low = mlo.Problem("w", lower, w, reads=["x"], update=torchopt.sgd(1.0), response=rule)
    engine = mlo.Engine(mlo.ProblemGraph([top, low]))
    report = engine.step()
    assert report.norms["x"] == pytest.approx(0 if isinstance(rule, mlo.FirstOrder) else 2, rel=1e-6)
    assert {name: value.dtype for name, value in engine.values["w"].items()} == {n: t.dtype for n, t in w.items()}


def test_float32_below_float64():
    # The answer lives in float32, the hypergradient in the dtype of its own variable.
    top = {"reads": ["w"], "update": torchopt.sgd(0.1)}
    top = mlo.Problem("x", lambda v, b: v.w.double() ** 2, scalar(3), **top)
    low = {"reads": ["x"], "update": torchopt.sgd(1.0)}
    low = mlo.Problem("w", lambda v, b: 0.5 * (v.w - v.x.float()) ** 2, scalar(0, torch.float32), **low)
    found = mlo.hypergradient(mlo.ProblemGraph([top, low]), of="x")
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(6, rel=1e-6)


def test_the_shape_of_a_hypergradient_is_that_of_its_variable():
    for variable in (scalar(1), torch.ones(1).double(), torch.ones(2, 3, 4).double(), torch.ones(0, 2).double()):
        problem = mlo.Problem("w", lambda v, b: (v.w**2).sum(), variable)
        assert torch.equal(mlo.hypergradient(mlo.ProblemGraph([problem]), of="w"), 2 * variable)


def test_sparse_tensors_are_refused_where_they_would_be_trained_and_only_there():
    sparse = torch.eye(2).to_sparse()
    for content in (sparse, {"a": sparse}):
        with pytest.raises(mlo.GraphError, match=r"^problem 'w': its variable has a sparse tensor .*: give its values"):
            mlo.Problem("w", lambda v, _: v.w.sum(), content)
    with pytest.raises(
        mlo.GraphError, match=r"^problem 'w': its module, part '0', asks for sparse .* give sparse=False"
    ):
        mlo.Problem("w", lambda v, _: v.w.sum(), nn.Sequential(nn.Embedding(5, 2, sparse=True)))
    frozen, held = nn.Embedding(5, 2, sparse=True).requires_grad_(False), nn.Linear(2, 1)
    held.register_buffer("edges", sparse)
    as_variable("w", nn.Sequential(frozen, held))
