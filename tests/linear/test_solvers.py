"""Linear solvers: right where the system has a solution, honest and finite everywhere.

Tolerances. The residual that CG reports comes from its recursion, which drifts from |A x - b| / |b| by rounding: by
machine epsilon times the condition number, times a small factor. `drift` is that bound.
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlo.errors import ConfigError
from mlo.linear import CG, Dense, Neumann

SOLVERS = [CG(), Neumann(max_steps=50, step_size=0.05), Dense()]
EXACT = [CG(max_steps=400, tol=1e-12), Dense()]


def randn(*shape, seed, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def spd(n, condition, seed, dtype=torch.float64):
    """Return a symmetric matrix with eigenvalues from 1 to `condition`, spread evenly in the logarithm."""
    q, _ = torch.linalg.qr(randn(n, n, seed=seed))
    return (q * torch.logspace(0, math.log10(condition), n, dtype=torch.float64) @ q.T).to(dtype)


def true_residual(a, solution, b):
    return float((a @ solution.value - b).norm() / b.norm())


def drift(b, condition):
    return 16 * torch.finfo(b.dtype).eps * condition


systems = st.tuples(st.integers(1, 8), st.floats(1, 1e4), st.integers(0, 2**16))


@given(systems, st.sampled_from(EXACT))
def test_random_symmetric_systems(drawn, solver):
    n, condition, seed = drawn
    a, b = spd(n, condition, seed), randn(n, seed=seed + 1)
    found = solver.solve(lambda v: a @ v, b)
    assert found.converged
    assert true_residual(a, found, b) <= 1e-12 + drift(b, condition)
    assert found.curvature >= 1 - 1e-9


@given(systems, st.sampled_from([torch.float32, torch.float64]), st.integers(1, 60))
def test_reports_are_honest(drawn, dtype, steps):
    n, condition, seed = drawn
    a, b = spd(n, condition, seed, dtype), randn(n, seed=seed + 1, dtype=dtype)
    for solver in [CG(max_steps=steps), Dense()]:
        found = solver.solve(lambda v: a @ v, b)
        assert found.value.isfinite().all()
        assert found.value.dtype == dtype
        assert found.residual == pytest.approx(true_residual(a, found, b), rel=1e-3, abs=drift(b, condition))
        assert not found.converged or true_residual(a, found, b) <= 1e-6 + drift(b, condition)
        assert found.iterations <= max(steps, n)


@given(systems, st.integers(1, 60))
def test_a_neumann_series_reports_an_upper_bound(drawn, steps):
    n, condition, seed = drawn
    a, b = spd(n, condition, seed), randn(n, seed=seed + 1)
    found = Neumann(max_steps=steps, step_size=1 / condition, tol=1e-6).solve(lambda v: a @ v, b)
    assert true_residual(a, found, b) <= found.residual + drift(b, condition)
    assert found.converged == (found.residual <= 1e-6)
    assert found.iterations <= steps


@given(st.integers(1, 6), st.integers(0, 2**16))
def test_a_truncated_neumann_series_is_the_sum(n, seed):
    a, b, total, term = spd(n, 4.0, seed), randn(n, seed=seed + 1), 0.0, 0.2 * randn(n, seed=seed + 1)
    for _ in range(6):
        total, term = total + term, term - 0.2 * a @ term
    found = Neumann(max_steps=5, step_size=0.2).solve(lambda v: a @ v, b)
    assert torch.allclose(found.value, total, rtol=1e-13, atol=0)
    assert found.iterations == 5


@given(st.integers(1, 8), st.integers(0, 2**16))
def test_dense_solves_what_is_not_symmetric(n, seed):
    a, b = randn(n, n, seed=seed) + 4 * torch.eye(n, dtype=torch.float64), randn(n, seed=seed + 1)
    found = Dense().solve(lambda v: a @ v, b)
    condition = float(torch.linalg.cond(a))
    assert true_residual(a, found, b) <= drift(b, condition)
    assert found.residual == pytest.approx(true_residual(a, found, b), abs=drift(b, condition))


@given(st.integers(1, 8), st.integers(0, 2**16))
def test_cg_solves_what_is_indefinite_and_says_so(n, seed):
    q, _ = torch.linalg.qr(randn(n, n, seed=seed))
    signs = torch.tensor([-1.0 if i % 2 else 1.0 for i in range(n)], dtype=torch.float64)
    a, b = q * (signs * torch.linspace(1, 2, n, dtype=torch.float64)) @ q.T, randn(n, seed=seed + 1)
    found = CG(tol=1e-8).solve(lambda v: a @ v, b)
    assert found.value.isfinite().all()
    assert not found.converged or true_residual(a, found, b) <= 1e-6
    if n > 1 and found.iterations >= n:
        assert found.curvature < 0


@pytest.mark.parametrize("solver", [CG(), Dense(), Neumann(step_size=0.5, max_steps=2)])
@pytest.mark.parametrize("n", [1, 5])
def test_isotropic_and_one_dimensional_systems_take_one_step(solver, n):
    b = randn(n, seed=0)
    found = solver.solve(lambda v: 2.0 * v, b)
    assert torch.allclose(found.value, b / 2, rtol=1e-15)
    assert found.converged
    assert found.iterations == (n if isinstance(solver, Dense) else 1)
    assert found.curvature == pytest.approx(2.0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_zero_right_hand_side_costs_nothing(solver):
    def refuse(v):
        raise AssertionError("a product was taken")

    found = solver.solve(refuse, torch.zeros(3, dtype=torch.float64))
    assert found.converged
    assert not found.value.any()
    assert (found.residual, found.iterations) == (0.0, 0)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("a", [0.0, float("nan"), float("inf"), 1e200, -1.0])
def test_the_value_is_finite_whatever_the_products_are(solver, a):
    b = randn(4, seed=1)
    found = solver.solve(lambda v: a * v, b)
    assert found.value.isfinite().all()
    assert found.converged == (a == -1.0 and not isinstance(solver, Neumann)) or (
        a == 1e200 and not isinstance(solver, Neumann)
    )


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_right_hand_side_that_is_not_finite_is_not_called_solved(solver, bad):
    b = torch.tensor([1.0, bad], dtype=torch.float64)
    found = solver.solve(lambda v: v, b)
    assert not found.converged


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_product_that_turns_nan_later_leaves_the_last_finite_iterate(solver):
    a, calls = spd(6, 50.0, seed=2), []

    def matvec(v):
        calls.append(v)
        return a @ v if len(calls) < 3 else torch.full_like(v, float("nan"))

    found = solver.solve(matvec, randn(6, seed=3))
    assert found.value.isfinite().all()
    assert not found.converged


@pytest.mark.parametrize("solver", [CG(), Dense()])
@pytest.mark.parametrize("seed", range(4))
def test_a_singular_system_with_a_solution_is_solved(solver, seed):
    q, _ = torch.linalg.qr(randn(5, 5, seed=seed))
    a = q * torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0], dtype=torch.float64) @ q.T
    b = a @ randn(5, seed=seed + 10)
    found = solver.solve(lambda v: a @ v, b)
    assert found.converged
    assert true_residual(a, found, b) <= 1e-9
    assert found.value.norm() <= 10 * b.norm()


@pytest.mark.parametrize("seed", range(4))
def test_dense_takes_least_squares_where_there_is_no_solution(seed):
    # Rank 2 up to rounding: an elimination finds pivots of 1e-17 and would divide by them.
    left, b = randn(5, 2, seed=seed), randn(5, seed=seed + 10)
    a = left @ left.T
    found = Dense().solve(lambda v: a @ v, b)
    assert not found.converged
    assert torch.allclose(found.value, torch.linalg.pinv(a, rtol=1e-10) @ b, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30])
@pytest.mark.parametrize("solver", [CG(), Dense(), Neumann(max_steps=200, step_size=0.4)])
def test_solutions_scale_with_the_right_hand_side(solver, scale):
    a, b = spd(4, 3.0, 1, torch.float32), randn(4, seed=2, dtype=torch.float32)
    found, scaled = solver.solve(lambda v: a @ v, b), solver.solve(lambda v: a @ v, scale * b)
    assert scaled.converged
    assert torch.allclose(scaled.value / scale, found.value, rtol=1e-5)


@pytest.mark.parametrize("solver", [CG(max_steps=3), Neumann(max_steps=3, step_size=0.01)])
def test_the_limit_on_steps_is_kept(solver):
    a, calls = spd(8, 100.0, 0), []

    def matvec(v):
        calls.append(v)
        return a @ v

    found = solver.solve(matvec, randn(8, seed=1))
    assert len(calls) == found.iterations == 3
    assert not found.converged
    assert found.value.any()


@pytest.mark.parametrize("make", [lambda: CG(max_steps=0), lambda: CG(tol=-1), lambda: Neumann(step_size=0)])
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ConfigError):
        make()
