"""The single loop against SOBA written by hand, and against the optimum that it must find."""

from dataclasses import replace

import pytest
import torch
import torchopt
from hypothesis import given, settings
from hypothesis import strategies as st

import mlo
from mlo.gradient import prepared
from mlo.solve import total_gradient

F64 = torch.float64
X, W = torch.tensor([0.3, 0.8], dtype=F64), torch.ones(2, dtype=F64)
H = torch.tensor([[2.0, 0.3], [0.3, 1.0]], dtype=F64)
LOWER = [torch.tensor([[1.0, 0.5], [-0.2, 0.7]], dtype=F64), torch.tensor([[0.4, 0.1], [0.3, 1.1]], dtype=F64)]
UPPER = [torch.tensor([1.0, 1.0], dtype=F64), torch.tensor([0.5, 1.5], dtype=F64), torch.tensor([2.0, 0.0], dtype=F64)]
RHO, ETA, XI = 0.2, 0.1, 0.05


def fit(w, x, b):
    return 0.5 * w @ H @ w - w @ (b @ x) + 0.1 * (w**4).sum()


def validate(w, x, target):
    return ((w - target) ** 2).sum() + (x * w).sum() + (x**2).sum()


def graph(rule, *, steps=1, lower=LOWER, upper=UPPER, **more):
    top = mlo.Problem("x", lambda v, b: validate(v.w, v.x, b), X, reads=["w"], update=torchopt.sgd(XI), batches=upper)
    how = {"update": torchopt.sgd(ETA), "steps": steps, "response": rule, "batches": lower, **more}
    low = mlo.Problem("w", lambda v, b: fit(v.w, v.x, b), W, reads=["x"], **how)
    return mlo.ProblemGraph([top, low])


def soba(steps):
    """All three directions at the same point, then all three steps."""
    x, w, u = X.clone(), W.clone(), torch.zeros(2, dtype=F64)
    for t in range(steps):
        b, target = LOWER[t % 2], UPPER[t % 3]
        x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
        (g,) = torch.autograd.grad(fit(w, x, b), w, create_graph=True)
        curved, mixed = torch.autograd.grad(g, [w, x], u)
        to_w, to_x = torch.autograd.grad(validate(w, x, target), [w, x])
        x, w, u = x - XI * (to_x - mixed), w - ETA * g, u - RHO * (curved - to_w)
    return x.detach(), w.detach()


def test_it_is_soba():
    engine = mlo.Engine(graph(mlo.SingleLoop(RHO)))
    list(engine.run(25))
    x, w = soba(25)
    torch.testing.assert_close(engine.values["x"], x, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(engine.values["w"], w, rtol=1e-12, atol=1e-13)


def test_it_finds_the_optimum_that_full_solves_find():
    one = {"lower": LOWER[:1], "upper": UPPER[:1]}
    full = mlo.Engine(graph(mlo.Implicit(), steps=10, **one))
    loop = mlo.Engine(graph(mlo.SingleLoop(RHO), **one))
    work = {}
    for name, engine in (("full", full), ("loop", loop)):
        work[name] = sum(report.gradients for report in engine.run(250))
    # Contraction by 1 - XI * curvature a step: e^-20 after 250.
    torch.testing.assert_close(loop.values["x"], full.values["x"], rtol=1e-8, atol=1e-9)
    assert work["loop"] == 2 * 250
    assert work["full"] > 10 * 250


def test_the_report_has_the_residual_of_the_running_adjoint():
    one = {"lower": LOWER[:1], "upper": UPPER[:1]}
    residuals = [report.solves["w"].residual for report in mlo.Engine(graph(mlo.SingleLoop(RHO), **one)).run(300)]
    assert residuals[0] == pytest.approx(1.0)  # u = 0
    assert residuals[-1] < 1e-6


def test_the_report_has_what_the_step_saw():
    engine = mlo.Engine(graph(mlo.SingleLoop(RHO), lower=LOWER[:1], upper=UPPER[:1]))
    report = engine.step()
    assert report.steps == {"w": 1}
    g = H @ W + 0.4 * W**3 - LOWER[0] @ X
    assert report.norms["w"] == pytest.approx(float(g.norm()), rel=1e-12)
    assert report.losses["w"] == pytest.approx(float(fit(W, X, LOWER[0])), rel=1e-12)
    solve = engine.step().solves["w"]
    # After one step u is along the first cotangent, 2 (w - 1) + x = x, and dG/dx is that of the first answer.
    curved = H @ X + 1.2 * (W - ETA * g) ** 2 * X
    assert solve.curvature == pytest.approx(float(X @ curved / (X @ X)), rel=1e-12)
    assert not solve.converged  # it goes on for as long as the engine does


def test_one_hypergradient_is_refused_for_it_has_no_past():
    with pytest.raises(mlo.GraphError, match=r"'w' cannot respond by SingleLoop here: .* use mlo.Implicit\(\)"):
        mlo.hypergradient(graph(mlo.SingleLoop(RHO)), of="x")


def test_inside_another_problem_it_is_refused():
    one = torch.ones(1, dtype=F64)
    low = {"update": torchopt.sgd(0.1)}
    loop = {"response": mlo.SingleLoop(0.1), **low}
    problems = [
        mlo.Problem("u", lambda v, _: (v.m**2).sum(), one, reads=["m"], **low),
        mlo.Problem("m", lambda v, _: ((v.m - v.l) ** 2).sum(), one, reads=["l"], **low),
        mlo.Problem("l", lambda v, _: ((v.l - v.m - v.u) ** 2).sum(), one, reads=["m", "u"], **loop),
    ]
    with pytest.raises(mlo.GraphError, match="'l' cannot respond by SingleLoop here"):
        mlo.Engine(mlo.ProblemGraph(problems)).step()


def test_more_than_one_step_is_refused():
    with pytest.raises(mlo.GraphError, match=r"'w' cannot respond by SingleLoop with steps=3: .* give steps=1"):
        mlo.Engine(graph(mlo.SingleLoop(RHO), steps=3)).step()


@pytest.mark.parametrize(("anchor", "culprit", "use"), [("cyclic", "a@1", "b@1"), ("none", "b@1", "a@1")])
def test_an_update_that_holds_to_another_problem_is_refused(anchor, culprit, use):
    # The proximal term is part of dG/dx; the adjoint of the loss alone is another one.
    def learner(name, rule):
        loss = lambda v, _: ((v[name] - v.x) ** 2).sum()  # noqa: E731
        return mlo.Problem(name, loss, W, reads=["x"], update=torchopt.sgd(0.1), response=rule)

    held = mlo.Proximal(1.0, step_size=0.1, anchor=anchor)
    learners = [learner(n, mlo.SingleLoop(RHO) if n == culprit[0] else mlo.Implicit()) for n in "ab"]
    stages = mlo.interleave(learners, rounds=1, proximal=held, shared="")
    top = mlo.Problem("x", lambda v, _: (v["b@1"] ** 2).sum(), X, reads=["b@1"], update=torchopt.sgd(XI))
    with pytest.raises(mlo.GraphError, match=f"{culprit!r} cannot respond by SingleLoop: its update uses {use!r}"):
        mlo.Engine(mlo.ProblemGraph([top, *stages])).step()


def test_a_tolerance_is_refused():
    with pytest.raises(mlo.GraphError, match="'w' cannot respond by SingleLoop with a tolerance"):
        mlo.Engine(graph(mlo.SingleLoop(RHO), tolerance=1e-3)).step()


def test_an_update_that_rests_elsewhere_is_refused():
    with pytest.raises(mlo.GraphError, match="'w' cannot respond by SingleLoop: its update decays weights"):
        graph(mlo.SingleLoop(RHO), update=torchopt.sgd(0.1, weight_decay=0.1))


def test_buffers_go_on_with_its_steps():
    net = torch.nn.BatchNorm1d(2).double()
    rows = torch.tensor([[1.0, 2.0], [3.0, 8.0]], dtype=F64)
    top = mlo.Problem("x", lambda v, _: sum((p**2).sum() for p in v.net.params.values()) + v.x.sum(), X, reads=["net"],
                      update=torchopt.sgd(XI))  # fmt: skip
    low = mlo.Problem("net", lambda v, _: ((v.net(rows) - v.x) ** 2).sum(), net, reads=["x"],
                      update=torchopt.sgd(0.01), response=mlo.SingleLoop(RHO))  # fmt: skip
    engine = mlo.Engine(mlo.ProblemGraph([top, low]))
    list(engine.run(3))
    # A running mean by 0.1: three looks at the same rows.
    expected = rows.mean(0) * (1 - 0.9**3)
    torch.testing.assert_close(engine.export("net").running_mean, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("inf"), float("nan"), True])
def test_settings_are_checked(bad):
    with pytest.raises(mlo.ConfigError, match="SingleLoop: step_size must be positive and finite"):
        mlo.SingleLoop(bad)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_law(seed):
    # <pullback, d> = - <u, dG[d]> for the adjoint u of now, the right side by central differences: G is linear in x.
    u, d = torch.randn(2, 2, generator=torch.Generator().manual_seed(seed), dtype=F64)
    made = graph(mlo.SingleLoop(RHO))
    context = replace(prepared(made, "x", {}, {}), adjoints={"w": u})
    found = total_gradient(context, "x", ("x",))

    def slope(x):
        w = W.clone().requires_grad_()
        return torch.autograd.grad(fit(w, x, LOWER[0]), w)[0]

    x = X.clone().requires_grad_()
    (direct,) = torch.autograd.grad(validate(W, x, UPPER[0]), x)
    expected = direct @ d - u @ (slope(X + d) - slope(X - d)) / 2
    assert float(found.seen.parts["x"]["value"] @ d) == pytest.approx(float(expected), rel=1e-12, abs=1e-12)


def test_two_engines_go_the_same_way_and_a_failed_step_leaves_the_adjoint():
    first, second = (mlo.Engine(graph(mlo.SingleLoop(RHO))) for _ in range(2))
    for _ in range(3):
        first.step()
        second.step()
    bad = mlo.Engine(graph(mlo.SingleLoop(RHO), upper=[UPPER[0], UPPER[1], torch.full((2,), torch.nan).double()]))
    bad.step()
    bad.step()
    with pytest.raises(mlo.DivergenceError):
        bad.step()
    again = mlo.Engine(graph(mlo.SingleLoop(RHO), upper=UPPER[:2]))
    again.step()
    again.step()
    assert torch.equal(first.values["x"], second.values["x"])
    assert torch.equal(bad.values["x"], again.values["x"])
    bad.step()  # goes on from the last good step
    assert torch.isfinite(bad.values["x"]).all()
