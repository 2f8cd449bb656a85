"""An optimizer of the user's own: matched by identity, copied, never changed."""

import copy
import functools

import pytest
import torch
from torch.optim import SGD, Adam

import mlo
from tests.update import formulas
from tests.update.nets import F64, graph, net, plain, snapshot


def groups(model):
    return [
        {"params": model[0].parameters(), "lr": 0.05, "weight_decay": 0.1},
        {"params": model[2].parameters(), "momentum": 0.5},
    ]


KINDS = {
    "sgd": lambda p: SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: Adam(p, lr=0.1),
}


@pytest.mark.parametrize("kind", ["adam", "groups", "sgd", "started"])
def test_an_optimizer_trains_as_it_would_and_is_not_changed(kind, double):
    model, twin = net(), net()

    def make(of):
        if kind == "groups":
            return SGD(groups(of), lr=0.1, momentum=0.9)
        return KINDS["adam" if kind == "started" else kind](of.parameters())

    optimizer, same = make(model), make(twin)
    if kind == "started":
        plain(model, optimizer, steps=3), plain(twin, same, steps=3)
        optimizer.zero_grad(), same.zero_grad()
    before = snapshot([optimizer.state_dict(), optimizer.__dict__, list(model.parameters())])
    engine = mlo.Engine(graph(model, optimizer))
    engine.step()
    mlo.hypergradient(engine.graph, of="z")
    assert snapshot([optimizer.state_dict(), optimizer.__dict__, list(model.parameters())]) == before
    truth = plain(twin, same)
    assert all(torch.allclose(engine.values["w"][name], truth[name], rtol=1e-12, atol=1e-14) for name in truth)


def test_state_goes_on_from_one_outer_step_to_the_next(double):
    model, twin = net(), net()
    engine = mlo.Engine(graph(model, Adam(model.parameters(), lr=0.1)))
    z = []
    for _ in range(2):
        z.append(float(engine.values["z"]))
        engine.step()
    optimizer = Adam(twin.parameters(), lr=0.1)
    for value in z:
        truth = plain(twin, optimizer, z=value)
    assert all(torch.allclose(engine.values["w"][name], truth[name], rtol=1e-12, atol=1e-14) for name in truth)


@pytest.mark.parametrize("variable", ["dict", "tensor"])
def test_tensors_and_dicts_are_matched_too(variable):
    a, b = torch.tensor([0.5, -0.3], dtype=F64), torch.tensor(0.7, dtype=F64)
    leaves = [value.requires_grad_() for value in (a, b)]
    declared = {"a": a, "b": b} if variable == "dict" else a
    update = SGD(leaves if variable == "dict" else [a], lr=0.01)
    found = mlo.hypergradient(graph(declared, update), of="z")
    made = functools.partial(SGD, lr=0.01)
    assert torch.equal(found, mlo.hypergradient(graph(declared, made), of="z"))
    assert float(found) != 0


def test_groups_have_the_hypergradient_of_a_loop_by_hand():
    a, b = torch.tensor([0.5, -0.3], dtype=F64), torch.tensor([0.7], dtype=F64)
    parts = [{"params": [a.requires_grad_()], "lr": 0.02, "weight_decay": 0.3}, {"params": [b.requires_grad_()]}]
    found = mlo.hypergradient(graph({"b": b, "a": a}, SGD(parts, lr=0.05, momentum=0.9)), of="z")
    z = torch.zeros((), dtype=F64, requires_grad=True)
    values, states = {"a": a.detach(), "b": b.detach()}, {"a": {}, "b": {}}
    each = {"a": {"lr": 0.02, "weight_decay": 0.3, "momentum": 0.9}, "b": {"lr": 0.05, "momentum": 0.9}}
    for t in range(1, 5):
        out = sum((value**3).sum() for value in values.values())
        slopes = {n: 2 * (out - 1) * 3 * value**2 + 2 * z.exp() * value for n, value in values.items()}
        moved = {n: formulas.sgd(values[n], slopes[n], states[n], t, each[n]) for n in values}
        values, states = {n: x for n, (x, _) in moved.items()}, {n: s for n, (_, s) in moved.items()}
    (truth,) = torch.autograd.grad(sum((value**2).sum() for value in values.values()), z)
    assert float(found) == pytest.approx(float(truth), rel=1e-12)


def test_the_same_answer_twice_and_from_a_factory():
    model = net()
    once = mlo.hypergradient(graph(model, Adam(model.parameters(), lr=0.1)), of="z")
    same = graph(model, lambda tensors: Adam(tensors, lr=0.1))
    assert torch.equal(once, mlo.hypergradient(same, of="z"))
    assert torch.equal(once, mlo.hypergradient(same, of="z"))


def test_frozen_parameters_may_stay_in_the_optimizer():
    model = net()
    model[0].weight.requires_grad_(False)
    assert float(mlo.hypergradient(graph(model, SGD(model.parameters(), lr=0.1)), of="z")) != 0


def test_what_does_not_fit_the_variable_is_named():
    model, other = net(), net()
    with pytest.raises(mlo.GraphError, match=r"'w': SGD does not hold '2\.weight', '2\.bias'.*requires_grad_"):
        graph(model, SGD(model[0].parameters(), lr=0.1))
    with pytest.raises(mlo.GraphError, match=r"'w': SGD holds a tensor of shape \(2, 3\) \(group 0, place 0\)"):
        graph(model, SGD(other.parameters(), lr=0.1))
    with pytest.raises(mlo.GraphError, match=r"'w': its update is a function that makes int"):
        graph(model, len)
    hooked = SGD(model.parameters(), lr=0.1)
    hooked.register_step_post_hook(lambda *_: None)
    with pytest.raises(mlo.GraphError, match=r"'w': SGD has step hooks"):
        graph(model, hooked)


def test_an_error_of_a_factory_says_whose_it_is():
    with pytest.raises(TypeError) as caught:
        graph(net(), functools.partial(SGD, rate=0.1))
    assert "problem 'w'" in caught.value.__notes__[0]


@pytest.mark.parametrize("kind", [functools.partial(Adam, weight_decay=0.1), torch.optim.AdamW, torch.optim.ASGD])
def test_an_implicit_response_is_refused_where_the_update_decays(kind):
    problem = graph(net(), kind).problems[1]
    with pytest.raises(mlo.GraphError, match=r"'w' cannot respond by Implicit.*decays weights"):
        mlo.ProblemGraph([graph(net(), kind).problems[0], copy.copy(replaced(problem))])
    mlo.ProblemGraph([graph(net(), kind).problems[0], replaced(graph(net(), Adam).problems[1])])


def replaced(problem):
    return mlo.Problem("w", problem.loss, problem.variable, reads=["z"], update=problem.update, response=mlo.Implicit())
