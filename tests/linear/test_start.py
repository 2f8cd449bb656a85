"""A start helps or costs one product; it never decides the answer."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlo.linear import CG, GMRES, Damped, Dense, Identity, Neumann, Nystrom
from tests.linear.systems import Counted, identity, randn, residual, spd

WARM = [CG(tol=1e-8), GMRES(tol=1e-8), Neumann(max_steps=500, tol=1e-8), Damped(CG(tol=1e-8), 0.5)]
COLD = [Dense(), Identity(), Nystrom(rank=2)]


@pytest.mark.parametrize("solver", WARM, ids=str)
@given(n=st.integers(1, 8), seed=st.integers(0, 2**16), scale=st.sampled_from([1e-200, 1e-3, 1.0, -7.0, 1e200]))
def test_a_start_that_solves_the_system_up_to_scale_costs_one_product(solver, n, seed, scale):
    a, b = spd(n, 10.0, seed), randn(n, seed=seed + 1)
    mu = solver.mu if isinstance(solver, Damped) else 0.0
    truth, product = torch.linalg.solve(a + mu * identity(n), b), Counted(a)
    found = solver.solve(product, b, start=scale * truth)
    assert product.calls == found.iterations == 1
    assert found.converged
    assert torch.allclose(found.value, truth, rtol=1e-12)
    # The product that judged the start also shows curvature: x.A x / x.x.
    assert found.curvature == pytest.approx(float(truth @ a @ truth / (truth @ truth)), rel=1e-9)


@pytest.mark.parametrize("solver", WARM, ids=str)
@given(n=st.integers(1, 8), seed=st.integers(0, 2**16), size=st.sampled_from([0.0, 1e-6, 1.0, 1e6]))
def test_any_start_leads_to_the_same_solution(solver, n, seed, size):
    a, b = spd(n, 10.0, seed), randn(n, seed=seed + 1)
    cold = solver.solve(lambda v: a @ v, b)
    warm = solver.solve(lambda v: a @ v, b, start=cold.value + size * randn(n, seed=seed + 2))
    assert warm.converged
    # Both residuals are within 1e-8, and the smallest eigenvalue is 1.
    assert float((warm.value - cold.value).norm()) <= 2.1e-8 * float(b.norm())


@given(st.integers(1, 8), st.integers(0, 2**16), st.floats(-9, 9))
def test_no_start_is_worse_than_none(n, seed, size):
    a, b = randn(n, n, seed=seed), randn(n, seed=seed + 1)
    found = GMRES(max_steps=1).solve(lambda v: a @ v, b, start=10.0**size * randn(n, seed=seed + 2))
    true, slack = residual(a, found.value, b)
    assert true <= 1 + slack
    assert found.residual == pytest.approx(true, abs=slack)


@pytest.mark.parametrize(
    "start",
    [
        torch.zeros(4, dtype=torch.float64),
        torch.ones(3, dtype=torch.float64),
        torch.ones(4, dtype=torch.float32),
        torch.tensor([1.0, math.nan, 0.0, 0.0], dtype=torch.float64),
        torch.tensor([1.0, math.inf, 0.0, 0.0], dtype=torch.float64),
    ],
    ids=["zero", "shape", "dtype", "nan", "inf"],
)
@pytest.mark.parametrize("solver", WARM, ids=str)
def test_a_start_that_does_not_fit_is_passed_over(solver, start):
    a, b = spd(4, 10.0, 0), randn(4, seed=1)
    assert repr(solver.solve(lambda v: a @ v, b, start=start)) == repr(solver.solve(lambda v: a @ v, b))


def test_a_start_that_does_not_fit_is_told_of(caplog):
    with caplog.at_level("INFO", logger="mlo"):
        CG().solve(lambda v: v, randn(4, seed=1), start=randn(3, seed=2))
    assert "shape is torch.Size([3])" in caplog.text


def test_a_start_that_the_matrix_maps_to_zero_costs_its_product_only():
    a, b = torch.diag(torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)), torch.tensor([0.0, 1.0, 1.0]).double()
    cold = CG().solve(lambda v: a @ v, b)
    warm = CG().solve(lambda v: a @ v, b, start=torch.tensor([1.0, 0.0, 0.0]).double())
    assert torch.equal(warm.value, cold.value)
    assert warm.iterations == cold.iterations + 1
    assert warm.converged


@pytest.mark.parametrize("solver", COLD, ids=str)
def test_solvers_that_cannot_use_a_start_do_without(solver):
    a, b = spd(4, 10.0, 0), randn(4, seed=1)
    cold, warm = (solver.solve(lambda v: a @ v, b, start=start) for start in (None, randn(4, seed=2)))
    assert torch.equal(cold.value, warm.value)
    assert cold.iterations == warm.iterations


def products(solver, *, warm, drift, steps=20, n=60):
    """The products that a sequence of systems takes, the first left out.

    Eigenvalues from 1 to 100 in fixed, random directions; each of them, and b, moves by `drift` in each step.
    """
    generator = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    values, b = torch.logspace(0, 2, n, dtype=torch.float64), randn(n, seed=1)
    x, counts = None, []
    for _ in range(steps):
        found = solver.solve(lambda v, d=values: q @ (d * (q.T @ v)), b, start=x if warm else None)
        assert found.converged
        counts.append(found.iterations)
        x = found.value
        b = b + drift * torch.randn(n, generator=generator, dtype=torch.float64)
        values = values * (1 + drift * (2 * torch.rand(n, generator=generator, dtype=torch.float64) - 1))
    return sum(counts[1:])


@pytest.mark.parametrize(
    ("solver", "drift", "factor"),
    [
        (CG(tol=1e-2), 1e-2, 2.0),  # measured: 3.8
        (CG(tol=1e-3), 1e-3, 3.0),  # 4.9
        (GMRES(tol=1e-3), 1e-3, 4.0),  # 7.0
        (Neumann(max_steps=1000, tol=1e-3), 1e-2, 2.0),  # 3.8
    ],
    ids=str,
)
def test_a_warm_start_saves_products_where_systems_drift(solver, drift, factor):
    cold, warm = (products(solver, warm=warm, drift=drift) for warm in (False, True))
    assert cold >= factor * warm
