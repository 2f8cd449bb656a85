"""A scheduler of the user's own: its settings at each update, and the scheduler itself never changed."""

import warnings

import pytest
import torch
from torch.optim import SGD
from torch.optim import lr_scheduler as schedulers

import mlo
from tests.update import formulas
from tests.update.formulas import unrolled
from tests.update.nets import F64, X, graph, net, plain, snapshot


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
