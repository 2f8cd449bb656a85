"""The fixed point of the update itself, against the theorem written out and against unrolling to the end.

Tolerances. Unrolling T steps leaves contraction^T of the derivative; T is chosen so that this is below 1e-12, and
linear solves stop at 1e-10 with condition below 1e3: 1e-7 has room. What needs no convergence agrees to 1e-9.
"""

import pytest
import torch
import torchopt
from hypothesis import given, settings
from hypothesis import strategies as st

import mlo
from mlo.testing.strategies import quadratic_graphs

F64 = torch.float64
H = torch.tensor([[2.0, 0.3], [0.3, 1.0]], dtype=F64)
B = torch.tensor([[1.0, 0.5], [-0.2, 0.7]], dtype=F64)
X = torch.tensor([0.3, 0.8], dtype=F64)


def lower(v, batch):
    return 0.5 * v.w @ H @ v.w - v.w @ (B @ v.x) + 0.1 * (v.w**4).sum()


def upper(v, batch):
    return ((v.w - 1) ** 2).sum() + (v.x * v.w).sum()


def graph(update, rule, steps=800):
    top = mlo.Problem("x", upper, X, reads=["w"], update=torchopt.sgd(0.1))
    low = mlo.Problem("w", lower, torch.ones(2, dtype=F64), reads=["x"], update=update, steps=steps, response=rule)
    return mlo.ProblemGraph([top, low])


def gradient(update, rule, **more):
    return mlo.hypergradient(graph(update, rule, **more), of="x")


UPDATES = {
    "sgd": torchopt.sgd(0.1),
    "momentum": torchopt.sgd(0.05, momentum=0.9),
    "nesterov": torchopt.sgd(0.05, momentum=0.9, nesterov=True),
    "decay": torchopt.sgd(0.1, weight_decay=0.2),
    "momentum and decay": torchopt.sgd(0.05, momentum=0.8, weight_decay=0.2),
    "clipped": torchopt.chain(mlo.clip_norm(0.5), torchopt.sgd(0.1)),
    "adam": torchopt.adam(0.02, betas=(0.9, 0.9), eps_root=1e-2),
    "adamw": torchopt.adamw(0.05, betas=(0.5, 0.8), weight_decay=1.0, eps=0.1),
    "schedule": torchopt.sgd(torchopt.schedule.linear_schedule(0.2, 0.1, 100, 0)),
}


@pytest.mark.parametrize("solver", [mlo.Dense(), mlo.GMRES(tol=1e-12)], ids=["dense", "gmres"])
@pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES.keys())
def test_it_equals_unrolling_to_the_end(update, solver):
    expected = gradient(update, mlo.Unroll())
    torch.testing.assert_close(gradient(update, mlo.FixedPoint(solver)), expected, rtol=1e-7, atol=1e-8)


def test_a_neumann_series_of_the_update_is_backpropagation_through_further_steps():
    # At the fixed point, K terms of sum (dU/dx)^k equal the derivative of K + 1 unrolled steps from there.
    update = torchopt.sgd(0.1, weight_decay=0.2)
    rest = mlo.Engine(graph(update, mlo.Unroll()))
    rest.step()
    values = {"x": X, "w": rest.values["w"]}
    expected = mlo.hypergradient(graph(update, mlo.Unroll(), steps=6), of="x", values=values)
    rule = mlo.FixedPoint(mlo.Neumann(max_steps=5, step_size=1.0))
    with pytest.warns(mlo.UnconvergedWarning, match="'w'"):
        found = mlo.hypergradient(graph(update, rule, steps=0), of="x", values=values)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_decay_in_the_update_equals_decay_in_the_loss():
    def decayed(v, batch):
        return lower(v, batch) + 0.1 * (v.w**2).sum()

    top = mlo.Problem("x", upper, X, reads=["w"], update=torchopt.sgd(0.1))
    low = mlo.Problem("w", decayed, torch.ones(2, dtype=F64), reads=["x"], update=torchopt.sgd(0.1), steps=400,
                      response=mlo.Implicit())  # fmt: skip
    expected = mlo.hypergradient(mlo.ProblemGraph([top, low]), of="x")
    torch.testing.assert_close(gradient(UPDATES["decay"], mlo.FixedPoint()), expected, rtol=1e-8, atol=1e-9)


def test_the_refusal_of_implicit_points_here():
    with pytest.raises(mlo.GraphError, match=r"'w' cannot respond by Implicit: .* mlo.FixedPoint\(\)"):
        graph(UPDATES["decay"], mlo.Implicit())


EXACT = [mlo.FixedPoint(mlo.Dense()), mlo.Unroll(), mlo.Implicit(mlo.Dense())]


@settings(max_examples=25)
@given(quadratic_graphs(levels=(2, 4), rules=EXACT, largest=2))
def test_mixed_with_other_rules_it_is_exact_at_any_depth(drawn):
    found = mlo.hypergradient(drawn.graph, of=drawn.of)
    torch.testing.assert_close(found, drawn.hypergradient, rtol=1e-8, atol=1e-9)


DECAYED = {"decay": {}, "momentum": {"momentum": 0.3}, "nesterov": {"momentum": 0.3, "nesterov": True}}


@pytest.mark.parametrize("settings", DECAYED.values(), ids=DECAYED.keys())
@pytest.mark.parametrize("bottom", [mlo.FixedPoint(mlo.Dense()), mlo.Unroll()], ids=["fixed", "unrolled"])
def test_nested_fixed_points_of_updates_with_state(settings, bottom):
    # Both levels rest where their decayed gradients vanish; the reference puts the decay into the losses.
    def deep(v, batch):
        return ((v.l - v.m - v.x) ** 2).sum() / 2 + (v.l**4).sum() / 20

    def middle(v, batch):
        return (v.m**2).sum() / 2 + ((v.l - 1) ** 2).sum() / 2

    def top(v, batch):
        return ((v.m - 3) ** 2).sum() / 2

    def solved(update, rules, extra):
        def problem(name, loss, reads, **more):
            start = torch.full((1,), 0.5, dtype=F64)

            def own(v, batch):
                return loss(v, batch) + extra * (v[name] ** 2).sum()

            return mlo.Problem(name, own, start, reads=reads, update=update, steps=40, **more)

        problems = [mlo.Problem("x", top, torch.ones(1, dtype=F64), reads=["m"], update=torchopt.sgd(0.1))]
        problems.append(problem("m", middle, ["l"], response=rules[0]))
        problems.append(problem("l", deep, ["m", "x"], response=rules[1]))
        return mlo.hypergradient(mlo.ProblemGraph(problems), of="x")

    dense = mlo.Implicit(mlo.Dense())
    expected = solved(torchopt.sgd(0.5), (dense, dense), 0.1)
    update = torchopt.sgd(0.4, weight_decay=0.2, **settings)
    found = solved(update, (mlo.FixedPoint(mlo.Dense()), bottom), 0.0)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


QUICK = {  # 150 steps leave less than 1e-14 of the way
    "sgd": torchopt.sgd(0.3),
    "momentum": torchopt.sgd(0.2, momentum=0.5),
    "adamw": torchopt.adamw(0.2, betas=(0.5, 0.8), weight_decay=1.0, eps=0.1),
}


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from(sorted(QUICK)))
def test_the_law(seed, name):
    # <pullback(c), d> = <c, dx*[d]>, the right side by central differences of the point of rest (h = 1e-4: 1e-8).
    generator = torch.Generator().manual_seed(seed)
    c, d = torch.randn(2, 2, generator=generator, dtype=F64)

    def at(x, rule):
        def push(v, batch):
            return c @ v.w

        low = mlo.Problem("w", lower, torch.ones(2, dtype=F64), reads=["x"], update=QUICK[name], steps=150,
                          response=rule)  # fmt: skip
        return mlo.ProblemGraph([mlo.Problem("x", push, x, reads=["w"], update=torchopt.sgd(0.1)), low])

    def rest(x):
        engine = mlo.Engine(at(x, mlo.FirstOrder()))
        engine.step()
        return engine.values["w"]

    right = c @ (rest(X + 1e-4 * d) - rest(X - 1e-4 * d)) / 2e-4
    left = mlo.hypergradient(at(X, mlo.FixedPoint(mlo.Dense())), of="x") @ d
    assert float(left) == pytest.approx(float(right), rel=1e-5, abs=1e-6)


def test_twice_the_same_and_nothing_is_changed():
    rule = mlo.FixedPoint()
    made = graph(UPDATES["adamw"], rule)
    state = torch.get_rng_state()
    first = mlo.hypergradient(made, of="x")
    assert torch.equal(first, mlo.hypergradient(made, of="x"))
    assert torch.equal(torch.get_rng_state(), state)


def test_settings_are_checked():
    with pytest.raises(mlo.ConfigError, match="FixedPoint: solver must be an instance such as"):
        mlo.FixedPoint(mlo.CG)
