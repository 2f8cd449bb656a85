"""GMRES where it must be right and where it cannot be.

Tolerances: a residual of the small least-squares problem is that of the large one to machine epsilon times |A| |x|.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlo.linear import GMRES
from tests.linear.systems import F64, Counted, identity, randn, residual


def smallest(a, b, k):
    """The least |A x - b| / |b| over the first k Krylov vectors, by dense least squares."""
    vectors, v = [], b / b.norm()
    for _ in range(k):
        for _ in range(2):
            v = v - sum(((u @ v) * u for u in vectors), torch.zeros_like(v))
        vectors.append(v / v.norm())
        v = a @ vectors[-1]
    basis = torch.stack(vectors, dim=1)
    y = torch.linalg.lstsq(a @ basis, b[:, None]).solution
    return float((a @ basis @ y - b[:, None]).norm() / b.norm())


@given(st.integers(3, 10), st.integers(0, 2**16), st.data())
def test_each_iterate_is_the_best_of_its_space(n, seed, data):
    k = data.draw(st.integers(1, n - 1))
    a, b = randn(n, n, seed=seed), randn(n, seed=seed + 1)
    found = GMRES(max_steps=k).solve(lambda v: a @ v, b)
    assert found.iterations == k
    assert found.residual == pytest.approx(smallest(a, b, k), rel=1e-8, abs=1e-12)


@given(st.integers(1, 10), st.integers(0, 2**16))
def test_as_many_products_as_unknowns_are_enough(n, seed):
    a, b = randn(n, n, seed=seed) + identity(n), randn(n, seed=seed + 1)
    found = GMRES().solve(lambda v: a @ v, b)
    if float(torch.linalg.cond(a)) < 1e4:
        assert found.converged
        assert found.iterations <= n
        assert torch.allclose(found.value, torch.linalg.solve(a, b), rtol=0, atol=1e-6 * float(found.value.norm()))


@given(st.integers(2, 12), st.integers(0, 2**16), st.integers(1, 4))
def test_a_space_that_ends_early_holds_the_solution(n, seed, kinds):
    """A with `kinds` different eigenvalues takes as many products."""
    vectors = identity(n) + 0.3 * torch.triu(randn(n, n, seed=seed), 1).clamp(-1, 1)
    values = 1.0 + torch.arange(n, dtype=F64) % kinds
    a, b = vectors * values @ torch.linalg.inv(vectors), randn(n, seed=seed + 1)
    found = GMRES().solve(lambda v: a @ v, b)
    assert found.converged
    assert found.iterations <= min(kinds, n)


@pytest.mark.parametrize("seed", range(4))
def test_a_singular_system_is_solved_if_it_can_be(seed):
    # Index 1 (no nilpotent part at 0) and b in the range: there GMRES reaches a solution.
    vectors = identity(6) + 0.3 * randn(6, 6, seed=seed)
    a = vectors * torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0, 4.0], dtype=F64) @ torch.linalg.inv(vectors)
    found = GMRES().solve(lambda v: a @ v, a @ randn(6, seed=seed + 10))
    assert found.converged
    off = GMRES().solve(lambda v: a @ v, randn(6, seed=seed + 20))
    assert not off.converged
    assert off.value.isfinite().all()
    least = torch.linalg.lstsq(a, randn(6, seed=seed + 20)[:, None], driver="gelsd").solution[:, 0]
    bound = residual(a, least, randn(6, seed=seed + 20))[0]
    assert bound - 1e-12 <= off.residual < 1


@pytest.mark.parametrize(
    ("a", "b"), [([[0.0, 1.0], [0.0, 0.0]], [1.0, 0.0]), ([[0.0, 1.0], [0.0, 0.0]], [0.0, 1.0]), ([[0.0]], [1.0])]
)
def test_a_space_that_ends_without_the_solution_is_no_success(a, b):
    a, b = torch.tensor(a, dtype=F64), torch.tensor(b, dtype=F64)
    found = GMRES().solve(lambda v: a @ v, b)
    assert not found.converged
    assert found.residual == pytest.approx(1.0)
    assert not found.value.any()
    assert found.iterations <= 2


def test_restarts_go_on_where_the_cycle_ended_and_stop_where_nothing_moves():
    a, b = randn(30, 30, seed=0) + 12 * identity(30), randn(30, seed=1)
    found = GMRES(restart=5).solve(lambda v: a @ v, b)
    assert found.converged
    assert found.iterations > 5
    shift = Counted(torch.roll(identity(30), 1, 0))
    stuck = GMRES(restart=5).solve(shift, identity(30)[0])  # the residual is 1 until the 30th product
    assert not stuck.converged
    assert shift.calls == stuck.iterations == 5
    assert GMRES(restart=None).solve(shift, identity(30)[0]).converged


def test_curvature_is_the_least_in_the_space():
    a, b = randn(6, 6, seed=0), randn(6, seed=1)
    found = GMRES(restart=None).solve(lambda v: a @ v, b)
    # Six products span everything: the smallest eigenvalue of the symmetric part.
    assert found.curvature == pytest.approx(float(torch.linalg.eigvalsh((a + a.T) / 2)[0]), rel=1e-10)


def test_a_cycle_that_gains_next_to_nothing_is_the_last():
    product = Counted(torch.roll(identity(30), 1, 0) + 1e-3 * identity(30))
    found = GMRES(restart=5).solve(product, identity(30)[0])
    assert product.calls == 5
    assert 0.999 < found.residual < 1
    assert not found.converged
