"""What a loss gets are views of one vector: it can do with them all that it could with tensors of their own."""

import pytest
import torch
import torchopt
from torch import nn

import mlo

F64 = torch.float64
RULES = [mlo.Unroll(), mlo.Unroll(product=mlo.FiniteDifference()), mlo.Implicit(mlo.Dense())]
START = {"a": torch.randn(3, 2, dtype=F64), "b": torch.randn(2, dtype=F64), "c": torch.randn((), dtype=F64)}
Z = torch.randn(3, dtype=F64)


def graph(loss, response, variable=START, steps=3):
    def upper(v, _):
        read = v.w if isinstance(v.w, dict) else v.w.params
        return sum((value**2).sum() for value in read.values()) + 0 * v.z.sum()

    lower = mlo.Problem(
        "w", loss, variable, reads=["z"], update=torchopt.sgd(0.02, momentum=0.5), steps=steps, response=response
    )
    return mlo.ProblemGraph([mlo.Problem("z", upper, Z, reads=["w"], update=torchopt.sgd(0.1)), lower])


def ridge(w):
    return torch.cosh(w["c"]) + (w["a"] ** 2).sum()


def plain(w, z):
    return torch.cosh(w["a"] @ w["b"] - z * w["c"]).sum() + (w["b"] ** 2).sum() + ridge(w)


def by_vmap(w, z):
    one = lambda row, entry: torch.cosh(row @ w["b"] - entry * w["c"])  # noqa: E731
    return torch.func.vmap(one)(w["a"], z).sum() + (w["b"] ** 2).sum() + ridge(w)


def by_jacrev(w, z):
    """d/dt sinh(t) = cosh(t): a derivative inside of the loss."""
    slope = torch.func.jacrev(lambda t: torch.sinh(t).sum())(w["a"] @ w["b"] - z * w["c"])
    return slope.sum() + torch.func.grad(lambda b: (b**3).sum() / 3)(w["b"]).sum() + ridge(w)


def by_grad(w, z):
    """The same by torch.autograd, with respect to a view."""
    t = w["a"] @ w["b"] - z * w["c"]
    (slope,) = torch.autograd.grad(torch.sinh(t).sum(), [t], create_graph=True)
    return slope.sum() + (w["b"] ** 2).sum() + ridge(w)


def by_stack(w, z):
    """`stack_module_state` and ensembles do this: stack, index, reshape, expand, write on a copy."""
    pair = torch.stack([w["b"], w["b"]])
    a = w["a"].clone()
    a[0] = a[0] * 1
    t = (a.T.contiguous().view(3, 2).reshape(2, 3).T * 0 + w["a"]) @ pair[1] - z * w["c"].expand(3)
    return torch.cosh(t).sum() + (pair[0] ** 2).sum() + ridge(w)


@pytest.mark.parametrize("rule", RULES, ids=["exact", "difference", "implicit"])
@pytest.mark.parametrize("loss", [by_vmap, by_jacrev, by_grad, by_stack])
def test_functions_of_torch_func_and_autograd(loss, rule):
    found = mlo.hypergradient(graph(lambda v, _: loss(v.w, v.z), rule), of="z")
    expected = mlo.hypergradient(graph(lambda v, _: plain(v.w, v.z), rule), of="z")
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)  # differences are good to 1e-7 or so


class Net(nn.Module):
    """Layers that keep buffers: two normalizations, a spectral norm, and one that writes on its own in two ways."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.last = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 1))
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        h = self.first(x)
        self.mean.mul_(0.9).add_(0.1 * h.mean(0))  # in place, with a history
        self.count = self.count + 1  # another tensor in its place
        return self.last(torch.tanh(h - self.mean.detach()))


def by_hand(net, z, x, steps):
    """SGD with torch's own modules."""
    for _ in range(steps):
        net.mean = net.mean.detach()
        loss = (net(x).squeeze(1) * torch.tanh(z).sum()).cosh().mean()
        slopes = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for value, slope in zip(net.parameters(), slopes, strict=True):
                value.sub_(0.1 * slope)
    return net


def test_buffers_that_are_written_to_are_those_of_torch():
    torch.set_default_dtype(F64)
    try:
        net, x = Net(), torch.randn(5, 3)
    finally:
        torch.set_default_dtype(torch.float32)
    theirs = Net().double()
    theirs.load_state_dict(net.state_dict())

    def loss(v, _):
        return (v.w(x).squeeze(1) * torch.tanh(v.z).sum()).cosh().mean()

    def upper(v, _):
        return sum((value**2).sum() for value in v.w.params.values()) + 0 * v.z.sum()

    lower = mlo.Problem("w", loss, net, reads=["z"], update=torchopt.sgd(0.1), steps=3, response=mlo.FirstOrder())
    top = mlo.Problem("z", upper, Z, reads=["w"], update=torchopt.sgd(0.1))
    engine = mlo.Engine(mlo.ProblemGraph([top, lower]))
    engine.step()
    found, expected = engine.export("w").state_dict(), by_hand(theirs, Z, x, 3).state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12, msg=name)
    assert int(found["count"]) == 3


@pytest.mark.parametrize("rule", [mlo.FirstOrder(), mlo.Unroll(product=mlo.FiniteDifference())])
def test_a_compiled_loss_gives_the_same(rule):
    """Not with exact products: torch refuses to differentiate the backward pass of compiled code."""
    torch._dynamo.reset()
    compiled = torch.compile(plain, backend="aot_eager")
    for loss in (lambda v, _: plain(v.w, v.z), lambda v, _: compiled(v.w, v.z)):
        engine = mlo.Engine(graph(loss, rule, steps=1), look_ahead=True)
        last = list(engine.run(3))[-1]
        yield_ = (engine.values, last.losses)
        if loss.__closure__ is None or "compiled" not in str(loss.__code__.co_freevars):
            expected = yield_
    torch.testing.assert_close(yield_[0], expected[0], rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo looks at it
def test_exact_products_of_compiled_code_are_refused():
    """Torch itself raises for a mixed derivative here, and takes the one in w alone for zero."""
    torch._dynamo.reset()
    compiled = torch.compile(plain, backend="aot_eager")
    for rule in (mlo.Unroll(), mlo.Implicit(mlo.CG())):
        with pytest.raises(mlo.LossError, match=r"problem 'w' runs compiled code.*mlo.FiniteDifference\(\)"):
            mlo.hypergradient(graph(lambda v, _: compiled(v.w, v.z), rule), of="z")


def test_what_is_handed_out_does_not_share_memory():
    problems = graph(lambda v, _: plain(v.w, v.z), mlo.Unroll())
    engine = mlo.Engine(problems)
    before = {name: value.clone() for name, value in engine.values["w"].items()}
    for value in engine.values["w"].values():
        assert value.untyped_storage().nbytes() == value.numel() * value.element_size()
        value.zero_()
    assert all(torch.equal(engine.values["w"][name], value) for name, value in before.items())
    export = engine.export("w")
    assert all(value.untyped_storage().nbytes() == value.numel() * 8 for value in export.values())
    inner = mlo.ProblemGraph([mlo.Problem("w", lambda v, _: plain(v.w, Z), START, update=torchopt.sgd(0.1))])
    for value in mlo.hypergradient(inner, of="w").values():
        assert value.untyped_storage().nbytes() == value.numel() * 8


def test_a_step_of_many_small_tensors_is_one_operation_for_all():
    """Counts, not times: an update, an axpy and a norm of 300 tensors take no more operations than of 3."""
    from benchmarks.counting import counted

    def step(count):
        start = {f"p{i}": torch.ones(2, dtype=F64) * i for i in range(count)}
        weight = torch.ones(2 * count, dtype=F64)

        def loss(v, _):
            return (torch.cat([*v.w.values()]) * weight * v.z.sum() / 1000 + 0.1).cosh().mean()

        response = mlo.Unroll(product=mlo.FiniteDifference())
        lower = mlo.Problem("w", loss, start, reads=["z"], update=torchopt.adam(0.1, eps_root=1e-8), response=response)
        top = mlo.Problem("z", lambda v, _: torch.cat([*v.w.values()]).sum(), Z, reads=["w"], update=torchopt.sgd(0.1))
        engine = mlo.Engine(mlo.ProblemGraph([top, lower]))
        engine.step()
        return counted(engine.step)[1].operations

    assert step(300) == step(3)
