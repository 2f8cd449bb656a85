"""The implicit response against the dense implicit function theorem.

Tolerances. The reference solves its linear system to rounding; CG stops at 1e-12 and conditioning is below 1e2: 1e-9.
Differences: central ones leave (machine epsilon)^(2/3) = 4e-11 of third derivatives of order 1: 1e-6 with room.
"""

import pytest
import torch
import torchopt
from hypothesis import given
from hypothesis import strategies as st

import mlo
import mlo.testing
from mlo.gradient import make_context
from mlo.solve import solve

F64 = torch.float64


def randn(*shape, seed, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def inner(w, z, seed=0):
    m = randn(len(w), len(w) + len(z), seed=seed)
    return torch.cosh(m @ torch.cat([w, z])).log().sum() + 0.5 * (w * w).sum() + 0.2 * (w**4).sum()


def outer(w, z):
    return (w**2).sum() + torch.sin(z).sum() * w.sum()


def minimum(z, n, seed=0):
    """Return the minimum by Newton steps, and the Hessian there."""
    w = torch.zeros(n, dtype=F64)
    for _ in range(30):
        w = w.detach().requires_grad_()
        (g,) = torch.autograd.grad(inner(w, z, seed), w, create_graph=True)
        hessian = torch.stack([torch.autograd.grad(entry, w, retain_graph=True)[0] for entry in g])
        w = w - torch.linalg.solve(hessian, g)
    return w.detach(), hessian.detach()


def theorem(z, n, seed=0):
    """Return d_z F - d_w F . H^-1 . d_z d_w f, all of it dense."""
    w, hessian = minimum(z, n, seed)
    w, z = w.requires_grad_(), z.clone().requires_grad_()
    (g,) = torch.autograd.grad(inner(w, z, seed), w, create_graph=True)
    mixed = torch.stack([torch.autograd.grad(entry, z, retain_graph=True)[0] for entry in g])
    to_w, to_z = torch.autograd.grad(outer(w, z), [w, z])
    return to_z - torch.linalg.solve(hessian, to_w) @ mixed, w.detach()


def graph(z, w, rule, steps=1, seed=0):
    top = mlo.Problem("z", lambda v, _: outer(v.w, v.z), z, reads=["w"], update=torchopt.sgd(0.1))
    low = mlo.Problem(
        "w", lambda v, _: inner(v.w, v.z, seed), w, reads=["z"], update=torchopt.sgd(0.05), steps=steps, response=rule
    )
    return mlo.ProblemGraph([top, low])


RULES = [
    (mlo.Implicit(mlo.CG(tol=1e-12)), 1e-9),
    (mlo.Implicit(mlo.Dense()), 1e-9),
    (mlo.Implicit(mlo.Neumann(max_steps=4000, step_size=0.03, tol=1e-11)), 1e-8),
    (mlo.Implicit(mlo.CG(tol=1e-9), product=mlo.FiniteDifference()), 1e-6),
    (mlo.Implicit(mlo.Dense(), product=mlo.FiniteDifference()), 1e-6),
]


def relative(found, truth):
    return float((found - truth).norm() / truth.norm())


@given(st.sampled_from(RULES), st.integers(1, 5), st.integers(1, 4), st.integers(0, 999))
def test_the_implicit_function_theorem(rule, n, m, seed):
    z = randn(m, seed=seed)
    truth, w = theorem(z, n, seed)
    assert relative(mlo.hypergradient(graph(z, w, rule[0], seed=seed), of="z"), truth) <= rule[1]


@pytest.mark.parametrize("rule", [mlo.Implicit(mlo.Dense()), mlo.Implicit(mlo.Dense(), product=mlo.FiniteDifference())])
def test_law_of_the_pullback(rule):
    # <pullback(c), d> = <c, (w*(z + h d) - w*(z - h d)) / 2h>, both w* by Newton steps; h = 1e-5 leaves 1e-9.
    z, c, d, h = randn(3, seed=1), {"value": randn(4, seed=2)}, randn(3, seed=3), 1e-5
    drawn = graph(z, minimum(z, 4)[0], rule)
    node, trace = solve(make_context(drawn, {}, {}), "w")
    pulled = rule.pullback(node, trace, c, ["z"], differentiable=False).parts["z"]["value"]
    moved = (minimum(z + h * d, 4)[0] - minimum(z - h * d, 4)[0]) / (2 * h)
    assert float(pulled @ d) == pytest.approx(float(c["value"] @ moved), rel=1e-7)


@pytest.mark.parametrize("rule", [rule for rule, _ in RULES])
def test_nothing_is_changed_and_the_bits_are_the_same(rule):
    z = randn(3, seed=1)
    w = minimum(z, 4)[0]
    drawn, before = graph(z, w, rule, steps=2), (z.clone(), w.clone())
    first, again = (mlo.hypergradient(drawn, of="z") for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(z, before[0])
    assert torch.equal(w, before[1])


def test_no_step_and_no_update_are_allowed():
    z = randn(3, seed=1)
    truth, w = theorem(z, 4)
    low = mlo.Problem("w", graph(z, w, mlo.Unroll())["w"].loss, w, reads=["z"], steps=0, response=mlo.Implicit())
    found = mlo.hypergradient(mlo.ProblemGraph([graph(z, w, mlo.Unroll())["z"], low]), of="z")
    assert relative(found, truth) <= 1e-9


@pytest.mark.parametrize("rule", [rule for rule, _ in RULES])
def test_a_variable_without_dimensions(rule):
    # w* = z^2: dF/dz of (w - 1)^2 is 4 z (z^2 - 1).
    z = torch.tensor(0.7, dtype=F64)
    top = mlo.Problem("z", lambda v, _: (v.w - 1) ** 2, z, reads=["w"], update=torchopt.sgd(0.1))
    low = mlo.Problem("w", lambda v, _: (v.w - v.z**2) ** 2, z**2, reads=["z"], update=torchopt.sgd(0.1), response=rule)
    found = mlo.hypergradient(mlo.ProblemGraph([top, low]), of="z")
    assert float(found) == pytest.approx(4 * 0.7 * (0.49 - 1), rel=1e-7)
    assert found.shape == ()


@pytest.mark.parametrize("product", [mlo.Exact(), mlo.FiniteDifference()])
def test_several_tensors_of_several_types(product):
    # w* = (z, z0 + z1): float32 resolves 1e-7, and differences in it 2e-5; 1e-3 is allowed for them.
    z = randn(2, seed=1)
    start = {"a": z.clone(), "b": z.sum().to(torch.float32)}

    def low(v, batch):
        return ((v.w["a"] - v.z) ** 2).sum() + (v.w["b"].double() - v.z.sum()) ** 2

    def top(v, batch):
        return (v.w["a"] ** 3).sum() + v.w["b"].double() ** 2

    rule = mlo.Implicit(mlo.Dense(), product=product)
    problems = [
        mlo.Problem("z", top, z, reads=["w"], update=torchopt.sgd(0.1)),
        mlo.Problem("w", low, start, reads=["z"], update=torchopt.sgd(0.1), response=rule),
    ]
    found = mlo.hypergradient(mlo.ProblemGraph(problems), of="z")
    assert relative(found, 3 * z**2 + 2 * z.sum()) <= (1e-6 if isinstance(product, mlo.Exact) else 1e-3)


@pytest.mark.parametrize("curve", [0.0, 1e-30])
def test_a_loss_without_curvature_is_refused(curve):
    low = mlo.Problem("w", lambda v, _: (v.w * v.z).sum() + 0 * curve, randn(2, seed=1), reads=["z"], steps=0)
    top = mlo.Problem("z", lambda v, _: (v.w**2).sum(), randn(2, seed=2), reads=["w"], update=torchopt.sgd(0.1))
    for solver in [mlo.CG(), mlo.Dense()]:
        problem = mlo.Problem("w", low.loss, low.variable, reads=["z"], steps=0, response=mlo.Implicit(solver))
        with pytest.raises(mlo.DivergenceError, match="adjoint solve"):
            mlo.hypergradient(mlo.ProblemGraph([top, problem]), of="z")


def test_the_solve_is_reported():
    z = randn(3, seed=1)
    report = mlo.Engine(graph(z, minimum(z, 4)[0], mlo.Implicit(mlo.CG(tol=1e-12)))).step()
    solution = report.solves["w"]
    assert solution.converged
    assert solution.residual <= 1e-12
    assert 1 <= solution.iterations <= 5
    assert solution.curvature >= 1


@pytest.mark.parametrize("rules", ["IUI", "UIU", "IIU"])
def test_rules_alternate_over_four_smooth_levels(rules):
    """Against central differences of the re-solved objective; every answer moves all that are above it."""
    choice = {"I": (mlo.Implicit(mlo.CG(tol=1e-12)), 12), "U": (mlo.Unroll(), 1)}

    def loss(own, others):
        def f(v, batch):
            x = v[own]
            drive = sum(torch.sin((k + 1) * v[name]) for k, name in enumerate(others))
            return ((x - 0.3 * drive) ** 2).sum() + 0.1 * (x**4).sum()

        return f

    reads = {"m": ["l", "q"], "l": ["m", "q"], "q": ["z", "m", "l"]}
    problems = [mlo.Problem("z", loss("z", ["m"]), randn(1, seed=0), reads=["m"], update=torchopt.sgd(0.1))]
    for k, (name, rule) in enumerate(zip(reads, rules, strict=True)):
        response, steps = choice[rule]
        problems.append(
            mlo.Problem(
                name,
                loss(name, reads[name]),
                randn(1, seed=k + 1),
                reads=reads[name],
                update=torchopt.sgd(0.4),
                steps=steps,
                response=response,
            )
        )
    mlo.testing.check_hypergradient(mlo.ProblemGraph(problems), of="z", directions=1, rtol=1e-5)
