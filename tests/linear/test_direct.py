"""Identity, Nystrom and Damped against the formulas that they stand for."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlo.linear import CG, Damped, Dense, Identity, Neumann, Nystrom
from tests.linear.systems import F64, Counted, identity, randn, residual, rotated, spd


@given(st.integers(1, 8), st.integers(0, 2**16), st.floats(0.01, 10))
def test_identity(n, seed, step):
    a, b = randn(n, n, seed=seed), randn(n, seed=seed + 1)
    found = Identity(step_size=step).solve(lambda v: a @ v, b)
    assert torch.allclose(found.value, step * b, rtol=1e-14)
    assert found.residual == pytest.approx(residual(a, found.value, b)[0], rel=1e-9)
    assert found.curvature == pytest.approx(float(b @ a @ b / (b @ b)), rel=1e-9, abs=1e-12)


def test_identity_without_measuring_takes_no_product():
    product = Counted(identity(3))
    found = Identity(measure=False).solve(product, torch.ones(3, dtype=F64))
    assert (product.calls, found.iterations, found.converged) == (0, 0, False)
    assert math.isnan(found.residual)


def test_identity_is_the_neumann_series_without_a_product():
    a, b = spd(5, 4.0, 0), randn(5, seed=1)
    series = Neumann(max_steps=1, step_size=0.2).solve(lambda v: a @ v, b).value
    assert torch.allclose(series - Identity(step_size=0.2).solve(lambda v: a @ v, b).value, 0.2 * (b - 0.2 * a @ b))


@given(st.integers(1, 10), st.integers(1, 10), st.integers(0, 2**16), st.floats(1e-3, 1))
def test_nystrom_is_the_damped_inverse_of_the_low_rank_matrix(n, rank, seed, damping):
    a, b = spd(n, 10.0, seed), randn(n, seed=seed + 1)
    solver = Nystrom(rank=rank, damping=damping, seed=seed)
    chosen = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:rank]
    low_rank = a[:, chosen] @ torch.linalg.inv(a[chosen][:, chosen]) @ a[chosen]
    product = Counted(a)
    found = solver.solve(product, b)
    truth = torch.linalg.solve(low_rank + damping * identity(n), b)
    assert product.calls == found.iterations == min(rank, n) + 1
    # The condition number of what is inverted is at most 1 + 10 / damping.
    assert float((found.value - truth).norm()) <= 1e-13 * (1 + 10 / damping) * 100 * float(truth.norm())


@given(st.integers(1, 8), st.integers(0, 2**16))
def test_nystrom_with_all_columns_tends_to_the_solution(n, seed):
    a = rotated([(-1.0) ** i * (1 + i) for i in range(n)], seed)
    b = randn(n, seed=seed + 1)
    for damping in (1e-3, 1e-6, 1e-9):
        found = Nystrom(rank=n, damping=damping).solve(lambda v, a=a: a @ v, b)
        # Every eigenvalue h, of size >= 1, is off by the damping: so is A x, relatively. The rest is rounding, which
        # columns that are nearly dependent make larger.
        assert found.residual <= 1.001 * damping + 1e-11
    assert found.converged


def test_nystrom_is_exact_for_a_matrix_of_its_rank():
    left = randn(12, 3, seed=0)
    a = left @ left.T
    found = Nystrom(rank=3, damping=1e-8).solve(lambda v: a @ v, a @ randn(12, seed=1))
    assert found.residual <= 1e-7
    assert found.value.norm() < 1e3  # nothing outside the range is blown up by 1 / damping


@given(st.integers(2, 8), st.integers(0, 2**16))
def test_nystrom_never_amplifies_beyond_the_damping(n, seed):
    a = rotated([0.1] * (n - 1) + [-0.1], seed)  # plain damping by 0.1 would divide by 0
    b = randn(n, seed=seed + 1)
    found = Nystrom(rank=n, damping=0.1).solve(lambda v: a @ v, b)
    assert float(found.value.norm()) <= float(b.norm()) / 0.1
    assert found.curvature < 0 or n > 2  # a sample of columns need not show the one negative direction


def test_another_seed_is_another_sample():
    a, b = spd(12, 100.0, 0), randn(12, seed=1)
    first, again, other = (Nystrom(rank=3, seed=seed).solve(lambda v: a @ v, b).value for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@given(st.integers(1, 8), st.integers(0, 2**16), st.floats(0, 10))
def test_damped(n, seed, mu):
    a, b = spd(n, 10.0, seed), randn(n, seed=seed + 1)
    for solver in (CG(tol=1e-12), Dense()):
        found = Damped(solver, mu).solve(lambda v: a @ v, b)
        assert torch.allclose(found.value, torch.linalg.solve(a + mu * identity(n), b), rtol=0, atol=1e-10)
        assert found.converged
        assert found.residual <= 1e-12 + residual(a + mu * identity(n), found.value, b)[1]
    assert found.curvature == pytest.approx(float(torch.linalg.eigvalsh(a)[0]), rel=1e-9)  # that of A itself


def test_damping_of_zero_is_the_solver_itself_and_damping_adds_up():
    a, b = spd(5, 10.0, 0), randn(5, seed=1)
    assert repr(Damped(CG(), 0).solve(lambda v: a @ v, b)) == repr(CG().solve(lambda v: a @ v, b))
    twice = Damped(Damped(Dense(), 1.0), 2.0).solve(lambda v: a @ v, b).value
    assert torch.allclose(twice, torch.linalg.solve(a + 3 * identity(5), b), rtol=1e-12)


def test_damping_makes_a_singular_system_solvable():
    a = rotated([0.0, 0.0, 1.0, 2.0], 0)
    b = randn(4, seed=1)
    assert not CG().solve(lambda v: a @ v, b).converged
    found = Damped(CG(), 1e-2).solve(lambda v: a @ v, b)
    assert found.converged
    assert found.curvature == pytest.approx(0.0, abs=1e-2)
