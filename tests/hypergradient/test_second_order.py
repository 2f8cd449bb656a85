"""Second-order products against a dense Hessian, and the choice of the shift.

Tolerances. Exact: rounding. Differences in float64: (machine epsilon)^(2/3) = 4e-11 times third derivatives of order 1,
in float32 2e-5 times the same: 1e-8 and 1e-3.
"""

import pytest
import torch
import torchopt
from hypothesis import given
from hypothesis import strategies as st

import mlo
from mlo.gradient import make_context
from mlo.solve import ProblemNode

EXACT, FD = mlo.Exact(), mlo.FiniteDifference()


def randn(*shape, seed, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def loss(w, z):
    m = randn(6, len(w) + len(z), seed=1, dtype=w.dtype)
    return torch.sin(m @ torch.cat([w, z])).sum() + (w**4).sum() * 0.1


def node(w, z, f=loss):
    top = mlo.Problem("z", lambda v, _: v.w.sum() + v.z.sum(), z, reads=["w"], update=torchopt.sgd(0.1))
    low = mlo.Problem("w", lambda v, _: f(v.w, v.z), w, reads=["z"], update=torchopt.sgd(0.1))
    return ProblemNode(make_context(mlo.ProblemGraph([top, low]), {}, {}), "w")


def product(rule, at, v):
    found = rule.linearize(at, at.start(), at.read()).product({"value": v}, ("w", "z"))
    return {name: part["value"] for name, part in found.items()}


def dense(w, z, v):
    w, z = w.clone().requires_grad_(), z.clone().requires_grad_()
    (g,) = torch.autograd.grad(loss(w, z), w, create_graph=True)
    return dict(zip(("w", "z"), torch.autograd.grad(g @ v, [w, z]), strict=True))


def close(found, truth, tolerance):
    gap, size = (torch.cat([parts[name] for name in truth]) for parts in (found, truth))
    return float((gap - size).norm()) <= tolerance * float(size.norm())


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30])
def test_products_scale_with_the_direction(scale):
    # In float32 the square of such a direction is zero or infinite.
    w, z, v = (randn(3, seed=seed, dtype=torch.float32) for seed in range(3))
    scaled, plain = product(FD, node(w, z), scale * v), product(FD, node(w, z), v)
    assert close({name: part / scale for name, part in scaled.items()}, plain, 1e-3)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 99), st.floats(-6, 6))
def test_products_equal_the_dense_hessian(n, m, seed, exponent):
    w, z, v = randn(n, seed=seed), randn(m, seed=seed + 1), 10**exponent * randn(n, seed=seed + 2)
    truth = dense(w, z, v)
    assert close(product(EXACT, node(w, z), v), truth, 1e-13)
    assert close(product(FD, node(w, z), v), truth, 1e-8)


def test_products_in_float32():
    w, z, v = (randn(3, seed=seed, dtype=torch.float32) for seed in range(3))
    assert close(product(FD, node(w, z), v), product(EXACT, node(w, z), v), 1e-3)


@pytest.mark.parametrize("rule", [EXACT, FD])
def test_products_are_linear(rule):
    w, z, v = randn(3, seed=0), randn(2, seed=1), randn(3, seed=2)
    one, minus_two = product(rule, node(w, z), v), product(rule, node(w, z), -2 * v)
    assert all(torch.allclose(-2 * one[name], minus_two[name], rtol=1e-7) for name in one)


@pytest.mark.parametrize("rule", [EXACT, FD])
def test_products_change_nothing_and_repeat(rule):
    w, z, v = randn(3, seed=0), randn(2, seed=1), randn(3, seed=2)
    at = node(w, z)
    local = rule.linearize(at, at.start(), at.read())
    first, again = (local.product({"value": v}, ("w", "z")) for _ in range(2))
    assert all(torch.equal(first[name]["value"], again[name]["value"]) for name in first)
    assert torch.equal(at.start().params["value"], w)


@pytest.mark.parametrize("rule", [EXACT, FD])
def test_a_zero_direction_and_an_unused_name_have_product_zero(rule):
    w, z = randn(3, seed=0), randn(2, seed=1)
    assert all(not part.any() for part in product(rule, node(w, z), torch.zeros_like(w)).values())
    found = product(rule, node(w, z, lambda w, z: (w**3).sum()), randn(3, seed=2))
    assert set(found) == {"w"}


def test_both_sides_of_a_difference_see_the_same_random_numbers():
    def noisy(w, z):
        return (w**2 * torch.rand(len(w), dtype=w.dtype)).sum() + (w.sum() * z).sum()

    w, z, v = randn(4, seed=0), randn(2, seed=1), randn(4, seed=2)
    torch.manual_seed(5)
    exact = product(EXACT, node(w, z, noisy), v)
    torch.manual_seed(5)
    assert close(product(FD, node(w, z, noisy), v), exact, 1e-8)


def test_the_shift_is_that_of_the_coarsest_tensor():
    # The gradient in z is float32: shifting by what float64 allows would leave 1e-7 / 6e-6 = 2 % of noise.
    def mixed(w, z):
        return (torch.sin(w) * z.double()).sum()

    w, z, v = randn(4, seed=0), randn(4, seed=1, dtype=torch.float32), randn(4, seed=2)
    found = product(FD, node(w, z, mixed), v)
    assert float((found["z"] - torch.cos(w) * v).norm() / (torch.cos(w) * v).norm()) <= 1e-4


@pytest.mark.parametrize("epsilon", [1e-1, 1e-2, 1e-3])
def test_the_error_falls_with_the_square_of_epsilon(epsilon):
    w, z, v = randn(3, seed=0), randn(2, seed=1), randn(3, seed=2)
    truth, found = dense(w, z, v), product(mlo.FiniteDifference(epsilon), node(w, z), v)
    error = float((found["w"] - truth["w"]).norm() / truth["w"].norm())
    assert 1e-3 * epsilon**2 < error < 10 * epsilon**2


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan")])
def test_an_epsilon_that_is_not_positive_is_refused(epsilon):
    with pytest.raises(mlo.ConfigError, match="epsilon"):
        mlo.FiniteDifference(epsilon)


@pytest.mark.parametrize(
    "rule",
    [mlo.Unroll(), mlo.Unroll(product=FD), mlo.Implicit(product=FD), mlo.Penalty(1e3)],
    ids=["exact", "unroll", "implicit", "penalty"],
)
def test_at_the_optimum_of_the_objective_the_hypergradient_is_zero_and_no_error(rule):
    # The cotangent on the answer is exactly zero there; the answer depends on x all the same.
    zero = torch.zeros(1, dtype=torch.float64)
    top = mlo.Problem("x", lambda v, _: (v.w**2).sum() / 2, zero, reads=["w"], update=torchopt.sgd(0.1))
    low = mlo.Problem("w", lambda v, _: ((v.w - v.x) ** 2).sum() / 2, zero, reads=["x"], update=torchopt.sgd(0.5),
                      response=rule)  # fmt: skip
    assert float(mlo.hypergradient(mlo.ProblemGraph([top, low]), of="x")) == 0.0
