"""Losses in lower precision: what is seen of them is float32, unscaled, and right to the digits of the lower type."""

from __future__ import annotations

import copy

import pytest
import torch
import torchopt
from torch import nn
from torch.nn.functional import batch_norm, mse_loss

import mlo

BF16, FP16 = mlo.Autocast(torch.bfloat16), mlo.Autocast(torch.float16)
KINDS = pytest.mark.parametrize("kind", [BF16, FP16], ids=["bfloat16", "float16"])
# Half a unit of the last place of a bfloat16 is 2^-9, of a float16 2^-12; some tens of roundings, seen below a third.
DIGITS = {torch.bfloat16: 0.04, torch.float16: 0.005}
GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(32, 6, generator=GENERATOR), torch.randn(32, 1, generator=GENERATOR)
VX, VY = torch.randn(32, 6, generator=GENERATOR), torch.randn(32, 1, generator=GENERATOR)


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))


def fit(v, batch):
    x, y = batch
    decay = (v.z.exp() * v.w.params["0.weight"] ** 2).sum() + 0.5 * sum((p**2).sum() for p in v.w.params.values())
    return mse_loss(v.w(x), y) + 0.3 * decay


def validate(v, batch):
    x, y = batch
    return mse_loss(v.w(x), y)


def graph(rule, kind, *, steps=2, net=None):
    sgd = torchopt.sgd(0.05)
    top = mlo.Problem("z", validate, torch.zeros(6), reads=["w"], update=sgd, batches=[(VX, VY)])
    lower = mlo.Problem(
        "w",
        fit,
        net or network(),
        reads=["z"],
        update=sgd,
        steps=steps,
        response=rule,
        batches=[(X, Y)],
        precision=kind,
    )
    return mlo.ProblemGraph([top, lower])


RULES = {
    "unroll": mlo.Unroll(),
    "recompute": mlo.Unroll(memory=mlo.Recompute()),
    "forward": mlo.Unroll(memory=mlo.Forward()),
    "differences": mlo.Unroll(product=mlo.FiniteDifference()),
    "cg": mlo.Implicit(mlo.CG(max_steps=20, tol=1e-2)),
    "gmres": mlo.Implicit(mlo.GMRES(max_steps=20, tol=1e-2)),
    "neumann": mlo.Implicit(mlo.Neumann(max_steps=100, step_size=0.05, tol=1e-2)),
    "dense": mlo.Implicit(mlo.Dense()),
    "identity": mlo.Implicit(mlo.Identity(step_size=0.05)),
    "implicit, differences": mlo.Implicit(mlo.CG(max_steps=20, tol=1e-2), product=mlo.FiniteDifference()),
    "fixed point": mlo.FixedPoint(mlo.GMRES(max_steps=30, tol=1e-2)),
    "penalty": mlo.Penalty(100.0, steps=300, tol=1e-2),
}


@pytest.mark.filterwarnings("ignore::mlo.UnconvergedWarning")  # a few steps are no solve; both sides make the same
@KINDS
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_comes_near_to_float32(rule, kind):
    steps = 60 if rule not in ("unroll", "recompute", "forward", "differences") else 3
    found, expected = (mlo.hypergradient(graph(RULES[rule], k, steps=steps), of="z") for k in (kind, None))
    assert found.dtype == torch.float32
    assert float((found - expected).norm()) <= DIGITS[kind.dtype] * float(expected.norm())
    assert not torch.equal(found, expected), "the lower precision was not used"


@KINDS
def test_single_loop_trains_as_in_float32(kind):
    ends = []
    for one in (kind, None):
        engine = mlo.Engine(graph(mlo.SingleLoop(0.05), one, steps=1))
        last = list(engine.run(20))[-1]
        ends.append((engine.values["z"], last.losses["w"]))
    torch.testing.assert_close(ends[0], ends[1], rtol=DIGITS[kind.dtype], atol=DIGITS[kind.dtype] * 0.1)


@KINDS
def test_all_that_is_seen_is_float32_and_the_module_is_untouched(kind):
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    before, seen = copy.deepcopy(net.state_dict()), []

    def spy(v, batch):
        out = v.w(batch[0])
        seen.append(out.dtype)
        return (out * batch[1]).mean()  # of the lower type itself

    lower = mlo.Problem("w", spy, net, update=torchopt.sgd(0.1, momentum=0.9), batches=[(X, Y)], precision=kind)
    engine = mlo.Engine(mlo.ProblemGraph([lower]))
    report = engine.step()
    assert seen == [kind.dtype]
    exported = engine.export("w")
    kinds = {value.dtype for value in exported.state_dict().values() if value.is_floating_point()}
    assert kinds == {torch.float32}
    assert float(exported[1].running_mean.abs().sum()) > 0, "statistics moved"
    assert isinstance(report.losses["w"], float)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not torch.is_autocast_enabled("cpu")


@KINDS
def test_solvers_see_float32(kind, monkeypatch):
    seen = []
    solve = mlo.CG.solve

    def spy(self, matvec, *args, **kwargs):
        def watched(v):
            product = matvec(v)
            seen.append((v.dtype, product.dtype))
            return product

        return solve(self, watched, *args, **kwargs)

    monkeypatch.setattr(mlo.CG, "solve", spy)
    with pytest.warns(mlo.UnconvergedWarning):
        mlo.hypergradient(graph(mlo.Implicit(mlo.CG(max_steps=3, tol=1e-9)), kind), of="z")
    assert len(seen) >= 3
    assert set(seen) == {(torch.float32, torch.float32)}


def test_an_overflow_is_told_with_problem_and_scale():
    kind = mlo.Autocast(torch.float16, scale=2.0**30)
    with pytest.raises(
        mlo.DivergenceError, match=r"problem 'w' is not finite at the scale 1.07374e\+09.*smaller scale"
    ):
        mlo.hypergradient(graph(mlo.Unroll(), kind), of="z")
    engine = mlo.Engine(graph(mlo.Implicit(mlo.CG()), kind))
    before = engine.values
    with pytest.raises(mlo.DivergenceError, match=r"problem 'w' is not finite at the scale"):
        engine.step()
    assert all(torch.equal(value, before["w"][name]) for name, value in engine.values["w"].items())


def test_a_loss_that_is_not_finite_is_not_blamed_on_the_scale():
    lower = mlo.Problem("w", lambda v, _: v.w.sum() / 0.0, torch.ones(3), update=torchopt.sgd(0.1), precision=FP16)
    with pytest.raises(mlo.DivergenceError, match="the loss of problem 'w' is inf"):
        mlo.Engine(mlo.ProblemGraph([lower])).step()


def test_batch_norm_is_differentiated_twice_without_overflow():
    """Torch multiplies by the number of pixels there, 16,384 here, where float16 ends at 65,504."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 1, 3))
    x = torch.randn(4, 1, 68, 68)

    def run(kind):
        fit = lambda v, b: ((v.w(b) + v.z.sum()) ** 2).mean()  # noqa: E731
        top = mlo.Problem("z", fit, torch.ones(2), reads=["w"], update=torchopt.sgd(0.1), batches=[x])
        lower = mlo.Problem("w", fit, net, reads=["z"], update=torchopt.sgd(0.1), batches=[x], precision=kind)
        return mlo.hypergradient(mlo.ProblemGraph([top, lower]), of="z")

    torch.testing.assert_close(run(FP16), run(None), rtol=0.01, atol=1e-4)


def test_batch_norm_in_float64_and_by_keyword_is_left_as_it_is():
    x, scale = torch.randn(8, 3, generator=GENERATOR).double(), torch.ones(3).double()

    def fit(v, _):
        shifted = (x + v.z).tanh()
        return batch_norm(input=shifted, running_mean=None, running_var=None, weight=v.w, training=True).cosh().mean()

    def run(kind):
        top = mlo.Problem("z", fit, scale, reads=["w"], update=torchopt.sgd(0.1))
        lower = mlo.Problem("w", fit, scale, reads=["z"], update=torchopt.sgd(0.1), precision=kind)
        return mlo.hypergradient(mlo.ProblemGraph([top, lower]), of="z")

    torch.testing.assert_close(run(FP16), run(None), rtol=1e-10, atol=1e-14)


def test_float64_is_left_as_it_is():
    def gradient(kind):
        lower = mlo.Problem("w", lambda v, _: (v.w @ v.w).cosh().sum(), torch.eye(3).double(), precision=kind)
        return mlo.hypergradient(mlo.ProblemGraph([lower]), of="w")

    torch.testing.assert_close(gradient(FP16), gradient(None), rtol=1e-14, atol=0)
    assert torch.equal(gradient(BF16), gradient(None))


def test_what_is_no_precision_is_refused():
    with pytest.raises(mlo.ConfigError, match=r"Autocast: dtype must be torch.bfloat16 or torch.float16, got"):
        mlo.Autocast(torch.float32)
    with pytest.raises(mlo.ConfigError, match="scale must be positive"):
        mlo.Autocast(torch.float16, scale=0.0)
    with pytest.raises(mlo.GraphError, match=r"problem 'x': precision must be an instance such as mlo.Autocast"):
        mlo.Problem("x", validate, torch.ones(2), precision=torch.bfloat16)
    lower = mlo.Problem("x", lambda v, _: v.x.sum(), torch.ones(2, device="meta"), precision=BF16)
    with pytest.raises(mlo.ConfigError, match="torch has none for the device 'meta'"):
        mlo.hypergradient(mlo.ProblemGraph([lower]), of="x")
