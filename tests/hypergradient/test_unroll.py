"""Unrolling against hand-written loops of every optimizer, differentiated by autograd.

Tolerance: the same operations, at most reordered, over five steps: 1e-10 relative, of which about 1e-15 is used.
torchopt counts steps in tensors, so that its bias correction and its schedules are float32 in every dtype; so are those
written here, for it is the derivative that is tested.
"""

import pytest
import torch
import torchopt
from torch import nn

import mlo
from mlo.gradient import make_context
from mlo.solve import solve

F64, STEPS = torch.float64, 5


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def inner(w, z):
    """A smooth loss of two tensors, one without dimensions."""
    return torch.cosh(w["a"] - z).log().sum() + (w["b"] - z.sum()) ** 2 * 0.5 + w["b"] * (w["a"] * z).sum() * 0.3


def outer(w, z):
    return (w["a"] ** 2).sum() + w["b"] * z.prod()


def start():
    return {"a": randn(3, seed=1), "b": torch.tensor(0.7, dtype=F64)}


def graph(update, steps=STEPS, **settings):
    rule = mlo.Unroll(**settings)
    top = mlo.Problem("z", lambda v, _: outer(v.w, v.z), randn(3, seed=0), reads=["w"], update=torchopt.sgd(0.1))
    low = mlo.Problem(
        "w", lambda v, _: inner(v.w, v.z), start(), reads=["z"], update=update, steps=steps, response=rule
    )
    return mlo.ProblemGraph([top, low])


def by_hand(step, steps=STEPS):
    """Differentiate a loop of `step(t, w, g, memory)`, which acts on one tensor."""
    z, w, memory = randn(3, seed=0).requires_grad_(), start(), {"a": {}, "b": {}}
    w = {key: value.requires_grad_() for key, value in w.items()}
    for t in range(1, steps + 1):
        g = dict(zip(w, torch.autograd.grad(inner(w, z), list(w.values()), create_graph=True), strict=True))
        if hasattr(step, "whole"):
            g = step.whole(g)
        w = {key: step(t, w[key], g[key], memory[key]) for key in w}
    return torch.autograd.grad(outer(w, z), z)[0]


def sgd(lr=0.1, momentum=0.0, dampening=0.0, nesterov=False, decay=0.0):
    def step(t, w, g, memory):
        g = g + decay * w
        m = memory["m"] = momentum * memory.get("m", 0.0) + (1 - dampening) * g
        return w - lr * (g + momentum * m if nesterov else m)

    return step


def adam(lr=0.1, decay=0.0, l2=0.0):
    def step(t, w, g, memory):
        g = g + l2 * w
        m = memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * g
        v = memory["v"] = 0.999 * memory.get("v", 0.0) + 0.001 * g * g
        first, second = (1 - rate ** torch.tensor(t) for rate in (0.9, 0.999))
        return w - lr * ((m / first) / ((v / second).sqrt() + 1e-8) + decay * w)

    return step


def rmsprop(lr=0.05):
    def step(t, w, g, memory):
        v = memory["v"] = 0.99 * memory.get("v", 0.0) + 0.01 * g * g
        return w - lr * g / (v.sqrt() + 1e-8)

    return step


def clipped(limit):
    step = sgd()

    def with_clip(*given):
        return step(*given)

    def whole(g):
        size = sum((value**2).sum() for value in g.values()).sqrt()
        return {key: value * (limit / size).clamp(max=1.0) for key, value in g.items()}

    with_clip.whole = whole
    return with_clip


def scheduled(t, w, g, memory):
    return w - (0.1 * (1.0 - torch.tensor(t - 1) / 4) + 0.1) * g


SCHEDULE = torchopt.schedule.linear_schedule(0.2, 0.1, transition_steps=4)
OPTIMIZERS = {
    "sgd": (lambda: torchopt.sgd(0.1), sgd()),
    "momentum": (lambda: torchopt.sgd(0.1, momentum=0.9), sgd(momentum=0.9)),
    "nesterov": (lambda: torchopt.sgd(0.1, momentum=0.9, nesterov=True), sgd(momentum=0.9, nesterov=True)),
    "dampening": (lambda: torchopt.sgd(0.1, momentum=0.9, dampening=0.5), sgd(momentum=0.9, dampening=0.5)),
    "weight decay": (lambda: torchopt.sgd(0.1, momentum=0.5, weight_decay=0.1), sgd(momentum=0.5, decay=0.1)),
    "adam": (lambda: torchopt.adam(0.1), adam()),
    "adam, weight decay": (lambda: torchopt.adam(0.1, weight_decay=0.1), adam(l2=0.1)),
    "adamw": (lambda: torchopt.adamw(0.1, weight_decay=0.1), adam(decay=0.1)),
    "rmsprop": (lambda: torchopt.rmsprop(0.05), rmsprop()),
    "active clipping": (lambda: torchopt.chain(mlo.clip_norm(0.5), torchopt.sgd(0.1)), clipped(0.5)),
    "idle clipping": (lambda: torchopt.chain(mlo.clip_norm(50.0), torchopt.sgd(0.1)), clipped(50.0)),
    "schedule": (lambda: torchopt.sgd(SCHEDULE), scheduled),
}


def relative(found, truth):
    return float((found - truth).norm() / truth.norm())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_unrolled_as_it_is(name):
    make, step = OPTIMIZERS[name]
    drawn, truth = graph(make()), by_hand(step)
    first, again = (mlo.hypergradient(drawn, of="z") for _ in range(2))
    assert relative(first, truth) <= 1e-10
    assert torch.equal(first, again)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_by_differences(name):
    make, step = OPTIMIZERS[name]
    assert relative(mlo.hypergradient(graph(make(), product=mlo.FiniteDifference()), of="z"), by_hand(step)) <= 1e-6


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_goes_on_where_a_solve_left_it(name):
    # Two solves of the engine, warm-started, are one of twice the length: at a still z.
    make, _ = OPTIMIZERS[name]

    def trained(steps, rounds):
        problems = graph(make(), steps=steps).problems
        still = mlo.Problem("z", problems[0].loss, randn(3, seed=0), reads=["w"], update=torchopt.sgd(0.0))
        engine = mlo.Engine(mlo.ProblemGraph([still, problems[1]]))
        list(engine.run(rounds))
        return engine.values["w"]

    twice, once = trained(2, 2), trained(4, 1)
    assert all(torch.equal(twice[key], once[key]) for key in once)


@pytest.mark.parametrize("name", ["momentum", "adam", "active clipping"])
def test_law_of_the_pullback(name):
    # <pullback(c), d> = <c, (x*(z + h d) - x*(z - h d)) / 2h> up to h^2 and eps / h with h = 1e-5: 1e-9.
    drawn, z, d, h = graph(OPTIMIZERS[name][0]()), randn(3, seed=0), randn(3, seed=5), 1e-5
    c = {"a": randn(3, seed=6), "b": torch.tensor(-1.3, dtype=F64)}

    def answer(at):
        node, trace = solve(make_context(drawn, {"z": at}, {}), "w")
        return node, trace

    node, trace = answer(z)
    pulled = node.problem.response.pullback(node, trace, c, ["z"], differentiable=False).parts["z"]["value"]
    up, down = answer(z + h * d)[1].answer, answer(z - h * d)[1].answer
    moved = sum((c[key] * (up[key] - down[key])).sum() for key in c) / (2 * h)
    assert float((pulled * d).sum()) == pytest.approx(float(moved), rel=1e-8)


def test_no_step_is_no_response():
    top = mlo.Problem("z", lambda v, _: v.w["b"] ** 2, randn(3, seed=0), reads=["w"], update=torchopt.sgd(0.1))
    with pytest.raises(mlo.LossError, match="does not depend"):
        mlo.hypergradient(mlo.ProblemGraph([top, graph(torchopt.sgd(0.1), steps=0)["w"]]), of="z")


class Net(nn.Module):
    """Tied weights, a frozen layer, batch statistics, dropout."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = (nn.Linear(3, 3, dtype=F64) for _ in range(3))
        self.second.weight = self.first.weight
        self.norm, self.drop = nn.BatchNorm1d(3, dtype=F64), nn.Dropout(0.4)
        self.last.requires_grad_(False)

    def forward(self, x):
        return self.last(self.drop(torch.tanh(self.norm(self.second(torch.tanh(self.first(x)))))))


def net_graph(product=mlo.Exact(), **settings):
    torch.manual_seed(3)
    net, x, y = Net(), randn(8, 3, seed=1), randn(8, 3, seed=2)

    def train(v, batch):
        return ((v.w(x) - y) ** 2).mean() + (v.z.exp() * sum((p**2).sum() for p in v.w.params.values())).sum()

    def validate(v, batch):
        return ((v.w(x[:5]) - y[:5]) ** 2).mean()

    rule = mlo.Unroll(product=product, **settings)
    top = mlo.Problem("z", validate, torch.full((2,), -1.0, dtype=F64), reads=["w"], update=torchopt.sgd(0.1))
    low = mlo.Problem("w", train, net, reads=["z"], update=torchopt.adam(0.01), steps=3, response=rule)
    return mlo.ProblemGraph([top, low]), net


def test_tied_frozen_normalized_and_dropped_out():
    exact, _ = net_graph(mlo.Exact())
    differences, _ = net_graph(mlo.FiniteDifference())
    mlo.testing.check_hypergradient(exact, of="z")
    # The same generator state gives both the same masks.
    found = mlo.hypergradient(exact, of="z")
    assert relative(mlo.hypergradient(differences, of="z"), found) <= 1e-6


@pytest.mark.parametrize("product", [mlo.Exact(), mlo.FiniteDifference()])
def test_nothing_is_changed(product):
    drawn, net = net_graph(product)
    net_before = {key: value.clone() for key, value in net.state_dict().items()}
    engine = mlo.Engine(drawn)
    engine.step()
    before = {key: value.clone() for key, value in engine.values["w"].items()}
    random = torch.get_rng_state()
    first = mlo.hypergradient(drawn, of="z", values=engine.values)
    assert torch.equal(first, mlo.hypergradient(drawn, of="z", values=engine.values))
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[key]) for key, value in engine.values["w"].items())
    assert all(torch.equal(value, net_before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("product", [mlo.Exact(), mlo.FiniteDifference()])
def test_buffers_move_once_for_each_step(product):
    # Not for the other gradients: the two sides of each difference, and the evaluations of the problem above.
    engine = mlo.Engine(net_graph(product)[0])
    engine.step()
    assert int(engine.export("w").norm.num_batches_tracked) == 3
