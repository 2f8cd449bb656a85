"""An optimizer or a scheduler of the user's own: matched by identity, copied, never changed."""

import copy
import functools
import warnings

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam
from torch.optim import lr_scheduler as schedulers

import mlo
from tests.update import formulas
from tests.update.formulas import unrolled

F64 = torch.float64
X = torch.tensor([1.0, -0.5, 2.0], dtype=F64)


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)).double()


def graph(variable, update, steps=4):
    """Return a regularized fit: the strength is the outer variable."""

    def fit(v, batch):
        out = v.w(X) if isinstance(variable, nn.Module) else sum((value**3).sum() for value in tensors(v.w))
        return ((out - 1) ** 2).sum() + v.z.exp() * sum((value**2).sum() for value in tensors(v.w))

    def tensors(value):
        if isinstance(value, torch.Tensor):
            return [value]
        return list((value.params if isinstance(variable, nn.Module) else value).values())

    top = mlo.Problem(
        "z",
        lambda v, batch: sum((value**2).sum() for value in tensors(v.w)),
        torch.zeros((), dtype=F64),
        reads=["w"],
        update=functools.partial(SGD, lr=0.1),
    )
    return mlo.ProblemGraph([top, mlo.Problem("w", fit, variable, reads=["z"], update=update, steps=steps)])


def plain(net, optimizer, scheduler=None, steps=4, z=0.0):
    """Train for real, in the way everybody does."""
    for _ in range(steps):
        optimizer.zero_grad()
        decay = torch.tensor(z, dtype=F64).exp() * sum((p**2).sum() for p in net.parameters())
        (((net(X) - 1) ** 2).sum() + decay).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return {name: value.detach() for name, value in net.named_parameters()}


def snapshot(value):
    """Return everything an optimizer or scheduler holds, comparable by ==."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone().flatten().tolist(), value.requires_grad, value.grad is None
    if isinstance(value, dict):
        return {str(key): snapshot(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [snapshot(part) for part in value]
    return value if isinstance(value, int | float | str | bool | None) else type(value).__name__


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


# Schedulers ----------------------------------------------------------------------------------------------------------


def chained(optimizer):
    return schedulers.ChainedScheduler(
        [schedulers.ConstantLR(optimizer, 0.5, 2), schedulers.ExponentialLR(optimizer, 0.9)]
    )


def sequential(optimizer):
    parts = [schedulers.LinearLR(optimizer, 0.2, total_iters=2), schedulers.StepLR(optimizer, 2, 0.5)]
    return schedulers.SequentialLR(optimizer, parts, [2])


SCHEDULERS = {
    "step": lambda o: schedulers.StepLR(o, 2, 0.5),
    "multistep": lambda o: schedulers.MultiStepLR(o, [1, 3], 0.5),
    "lambda": lambda o: schedulers.LambdaLR(o, lambda n: 1 / (1 + n)),
    "multiplicative": lambda o: schedulers.MultiplicativeLR(o, lambda n: 0.9),
    "constant": lambda o: schedulers.ConstantLR(o, 0.5, 2),
    "linear": lambda o: schedulers.LinearLR(o, 0.5, 1.0, 3),
    "exponential": lambda o: schedulers.ExponentialLR(o, 0.8),
    "polynomial": lambda o: schedulers.PolynomialLR(o, 6, 2.0),
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, 6),
    "restarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 3),
    "cyclic": lambda o: schedulers.CyclicLR(o, 0.01, 0.1, step_size_up=2, cycle_momentum=True),
    "onecycle": lambda o: schedulers.OneCycleLR(o, 0.2, total_steps=9),
    "chained": chained,
    "sequential": sequential,
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_is_stepped_with_each_update(name):
    x = torch.tensor([0.5, -0.3], dtype=F64, requires_grad=True)
    optimizer = SGD([x], lr=0.1, momentum=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR of torch warns of itself
        scheduler = SCHEDULERS[name](optimizer)
    before = snapshot([scheduler.state_dict(), optimizer.state_dict()])
    problems = graph(x, scheduler, steps=6)
    found, again = (mlo.hypergradient(problems, of="z") for _ in range(2))
    assert torch.equal(found, again)
    assert snapshot([scheduler.state_dict(), optimizer.state_dict()]) == before
    settings = []
    for _ in range(6):
        settings.append({key: optimizer.param_groups[0][key] for key in ("lr", "momentum")})
        x.grad = torch.zeros_like(x)
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler.step()
    assert len({tuple(each.values()) for each in settings}) > 1
    z = torch.zeros((), dtype=F64, requires_grad=True)

    def slope(x):
        return 2 * ((x**3).sum() - 1) * 3 * x**2 + 2 * z.exp() * x

    end = unrolled(formulas.sgd, slope, torch.tensor([0.5, -0.3], dtype=F64), 6, lambda count: settings[count])
    (truth,) = torch.autograd.grad((end**2).sum(), z)
    assert float(found) == pytest.approx(float(truth), rel=1e-12)


def test_an_engine_goes_on_in_the_schedule(double):
    model, twin = net(), net()
    optimizer, same = (SGD(each.parameters(), lr=0.1) for each in (model, twin))
    engine = mlo.Engine(graph(model, schedulers.ExponentialLR(optimizer, 0.5), steps=2))
    scheduler, z = schedulers.ExponentialLR(same, 0.5), []
    for _ in range(3):
        z.append(float(engine.values["z"]))
        engine.step()
        truth = plain(twin, same, scheduler, steps=2, z=z[-1])
    assert all(torch.allclose(engine.values["w"][name], truth[name], rtol=1e-12, atol=1e-14) for name in truth)


def test_a_scheduler_that_needs_a_metric_is_refused():
    optimizer = SGD([X.clone().requires_grad_()], lr=0.1)
    with pytest.raises(mlo.GraphError, match=r"'w': a step of ReduceLROnPlateau needs 'metrics'"):
        graph(optimizer.param_groups[0]["params"][0], schedulers.ReduceLROnPlateau(optimizer))


def test_a_scheduler_that_ends_says_so():
    x = torch.tensor([0.5], dtype=F64, requires_grad=True)
    scheduler = schedulers.OneCycleLR(SGD([x], lr=0.1, momentum=0.9), 0.2, total_steps=3)
    with pytest.raises(mlo.ConfigError, match=r"'w': its scheduler OneCycleLR has no step 4.*fewer updates"):
        mlo.hypergradient(graph(x, scheduler, steps=5), of="z")
