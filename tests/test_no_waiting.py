"""Nothing on the way of a step looks at a number: shown with tensors that have none, on the device "meta"."""

import functools

import pytest
import torch
import torchopt

import mlo
from mlo.look import Look


def weights():
    shapes = {"0.weight": (3, 4), "0.bias": (4,), "1.weight": (4, 1), "1.bias": (1,)}
    return {name: torch.ones(shape, device="meta") for name, shape in shapes.items()}


def predict(w, x):
    return torch.tanh(x @ w["0.weight"] + w["0.bias"]) @ w["1.weight"] + w["1.bias"]


def bilevel(response, update, steps):
    x, z = torch.ones(5, 3, device="meta"), torch.zeros(2, device="meta")
    fit = lambda v, b: ((predict(v.w, b) * v.z.exp().sum()) ** 2).mean()  # noqa: E731
    validate = lambda v, b: predict(v.w, b).square().mean()  # noqa: E731
    top = mlo.Problem("z", validate, z, reads=["w"], update=torchopt.sgd(0.1), batches=[x])
    lower = mlo.Problem("w", fit, weights(), reads=["z"], update=update, steps=steps, response=response, batches=[x])
    return mlo.ProblemGraph([top, lower])


def chain(product):
    x = torch.ones(5, 3, device="meta")
    learners = []
    for name in ("a", "b"):
        loss = lambda v, b, own=name: ((predict(v[own], b) * v.z.exp().sum()) ** 2).mean()  # noqa: E731
        update = torchopt.chain(mlo.clip_norm(1.0), torchopt.sgd(0.1, momentum=0.9, weight_decay=0.1))
        response = mlo.Unroll(product=product)
        learners.append(mlo.Problem(name, loss, weights(), reads=["z"], update=update, response=response, batches=[x]))
    stages = mlo.interleave(learners, rounds=2, proximal=mlo.Proximal(1.0, step_size=0.1), shared="0.")
    last = ["a@2", "b@2"]
    top = mlo.Problem(
        "z",
        lambda v, b: sum(predict(v[name], b).square().mean() for name in last),
        torch.zeros(2, device="meta"),
        reads=last,
        update=torchopt.sgd(0.1),
        batches=[x],
    )
    return mlo.ProblemGraph([top, *stages])


SGD = torchopt.sgd(0.1, momentum=0.9)
CASES = {
    "first order": lambda: bilevel(mlo.FirstOrder(), SGD, 1),
    "unrolled": lambda: bilevel(mlo.Unroll(), SGD, 3),
    "difference": lambda: bilevel(mlo.Unroll(product=mlo.FiniteDifference()), SGD, 1),
    "difference of a given size": lambda: bilevel(mlo.Unroll(product=mlo.FiniteDifference(0.01)), SGD, 1),
    "torch.optim": lambda: bilevel(mlo.Unroll(), functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9), 2),
    "clipped": lambda: bilevel(mlo.Unroll(), mlo.Clipped(SGD, max_norm=1.0, max_value=0.5), 2),
    "chain": lambda: chain(mlo.Exact()),
    "chain, difference": lambda: chain(mlo.FiniteDifference(0.01)),
}


@pytest.mark.parametrize("look_ahead", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_a_step_looks_at_the_device_once(case, look_ahead, monkeypatch):
    looks = []

    def blind(self):
        looks.append(len(self._flags))
        return [0.0] * len(self._numbers)

    monkeypatch.setattr(Look, "take", blind)  # there is nothing to see; any other look is an error of torch
    engine = mlo.Engine(CASES[case](), look_ahead=look_ahead)
    engine.step()
    assert looks.pop() > 2
    assert looks == []
    kinds = {value.device.type for params in engine._params.values() for value in params.values()}
    assert kinds == {"meta"}


def test_another_look_would_be_noticed():
    engine = mlo.Engine(bilevel(mlo.Implicit(mlo.CG()), SGD, 1))
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        engine.step()
