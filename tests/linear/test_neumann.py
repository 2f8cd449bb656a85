"""The step size that a Neumann series finds for itself."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlo.linear import Neumann
from mlo.linear.krylov import Krylov
from tests.linear.systems import F64, Counted, randn, residual, rotated, spd

SPECTRA = {
    "flat": lambda n: torch.linspace(1.0, 1.001, n, dtype=F64),
    "even": lambda n: torch.linspace(1.0, 10.0, n, dtype=F64),
    "two decades": lambda n: torch.logspace(0, 2, n, dtype=F64),
    "six decades": lambda n: torch.logspace(0, 6, n, dtype=F64),
    "one outlier": lambda n: torch.cat([torch.linspace(1.0, 2.0, n - 1, dtype=F64), torch.tensor([100.0], dtype=F64)]),
    "power law": lambda n: 1e-4 + 1 / (1 + torch.arange(n, dtype=F64)) ** 2,
}


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("n", [20, 300])
def test_the_found_step_is_nearly_as_good_as_the_best_fixed_one(spectrum, n):
    values, b = SPECTRA[spectrum](n), randn(n, seed=0)
    best = 2 / float(values.max() + values.min())
    own = Neumann(max_steps=40).solve(lambda v: values * v, b)
    given_best = Neumann(max_steps=40, step_size=best).solve(lambda v: values * v, b)
    assert own.iterations <= 40
    # A step that is smaller by up to 1.5 costs as many more products: the residual of 40 / 1.5 terms at the worst.
    assert own.residual <= max(1e-10, 1.05 * given_best.residual ** (1 / 1.5))
    assert Neumann(max_steps=40, step_size=2.2 / float(values.max())).solve(lambda v: values * v, b).residual > 1


@given(st.integers(1, 12), st.floats(1, 1e4), st.integers(0, 2**16), st.integers(1, 12))
def test_the_residual_never_grows_and_is_that_of_the_value(n, condition, seed, steps):
    a, b = spd(n, condition, seed), randn(n, seed=seed + 1)
    shorter, longer = (Neumann(max_steps=k).solve(lambda v: a @ v, b) for k in (steps, steps + 1))
    assert longer.residual <= 1
    if steps >= 5:  # up to there more products also make a better estimate, and another series
        assert longer.residual <= shorter.residual * (1 + 1e-12)
    for found in (shorter, longer):
        true, slack = residual(a, found.value, b)
        assert found.residual == pytest.approx(true, rel=1e-9, abs=slack)


@given(st.integers(6, 12), st.integers(0, 2**16))
def test_the_products_of_the_estimate_serve_the_series(n, seed):
    """Twelve products give the sum of twelve terms with one step size, though five of them found that step size."""
    a, b = spd(n, 5.0, seed), randn(n, seed=seed + 1)
    found = Neumann(max_steps=12, tol=0.0).solve(lambda v: a @ v, b)
    space = Krylov(b / b.norm(), 5)
    for _ in range(5):
        space.extend(lambda v: a @ v)
    h = space.matrix()
    step = 2 / float(space.ritz_values()[0] + torch.linalg.matrix_norm(h, 2) + h[-1, -1])
    total, term = torch.zeros(n, dtype=F64), step * b
    for _ in range(12):
        total, term = total + term, term - step * (a @ term)
    assert found.iterations == 12
    assert torch.allclose(found.value, total, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("weight", [0.0, 1e-12, 1e-6])
def test_an_eigenvector_that_the_estimate_cannot_see_is_noticed(weight):
    n = 40
    q, _ = torch.linalg.qr(randn(n, n, seed=0))
    values = torch.linspace(1.0, 30.0, n, dtype=F64)
    parts = randn(n, seed=1)
    parts[n // 4 :] *= weight  # b has next to nothing along all eigenvalues above 8
    b, product = q @ parts, Counted(q * values @ q.T)
    blind = 2 / float(values[0] + values[n // 4])
    assert Neumann(max_steps=600, step_size=blind, tol=1e-8).solve(product, b).residual > 1e8
    found = Neumann(max_steps=600, tol=1e-8).solve(product, b)
    assert found.converged
    true, slack = residual(product.a, found.value, b)
    assert true <= 1e-8 + slack


@pytest.mark.parametrize("lowest", [-1.0, -1e-3])
def test_a_series_for_what_is_indefinite_ends_and_says_so(lowest):
    values = torch.cat([torch.tensor([lowest], dtype=F64), torch.linspace(0.5, 10.0, 29, dtype=F64)])
    found = Neumann(max_steps=20000).solve(lambda v: values * v, randn(30, seed=0))
    assert not found.converged
    assert found.iterations < 20000
    assert lowest - 1e-12 <= found.curvature < 0
    assert 0 < found.residual < 1  # stopped before the part along the negative eigenvalue took over


def test_a_negative_definite_system_is_not_touched():
    a = -spd(5, 10.0, 0)
    found = Neumann().solve(lambda v: a @ v, randn(5, seed=1))
    assert not found.value.any()
    assert not found.converged
    assert found.curvature < 0


def test_one_product_is_enough_to_begin():
    a, b = spd(6, 10.0, 0), randn(6, seed=1)
    product = Counted(a)
    found = Neumann(max_steps=1).solve(product, b)
    assert product.calls == found.iterations == 1
    assert 0 < residual(a, found.value, b)[0] < 1


@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 2**16))
def test_arnoldi(n, steps, seed):
    a, b = randn(n, n, seed=seed), randn(n, seed=seed + 1)
    space = Krylov(b / b.norm(), steps)
    while len(space) < steps and not space.ended:
        space.extend(lambda v: a @ v)
    k, h = len(space), space.matrix()
    rows = k if space.ended else k + 1
    v = torch.stack([space.combine(row) for row in torch.eye(k + 1, dtype=F64)[:rows]], dim=1)
    assert k == min(n, steps)
    assert torch.allclose(v.T @ v, torch.eye(rows, dtype=F64), rtol=0, atol=1e-13)
    assert torch.allclose(a @ v[:, :k], v @ h[:rows], rtol=0, atol=1e-13 * (1 + math.sqrt(n) * float(a.norm())))


def test_arnoldi_stays_orthogonal_where_one_pass_does_not():
    # Nearly dependent products: A is the identity but for 1e-9.
    a = torch.eye(30, dtype=F64) + 1e-9 * rotated(torch.linspace(0, 1, 30, dtype=F64), 0)
    b = randn(30, seed=1)
    space = Krylov(b / b.norm(), 4)
    for _ in range(4):
        space.extend(lambda v: a @ v)
    v = torch.stack([space.combine(row) for row in torch.eye(5, dtype=F64)])
    assert torch.allclose(v @ v.T, torch.eye(5, dtype=F64), rtol=0, atol=1e-14)


def test_the_estimate_shows_the_least_curvature_of_its_space():
    values = torch.tensor([-0.1, 1.0, 2.0, 3.0], dtype=F64)  # four products span everything
    found = Neumann(max_steps=4).solve(lambda v: values * v, torch.ones(4, dtype=F64))
    assert found.curvature == pytest.approx(-0.1, rel=1e-9)
