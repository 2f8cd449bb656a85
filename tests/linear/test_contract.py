"""What every solver promises, for every kind of matrix: one table crossed with another.

Tolerances: `systems.residual` returns what rounding may leave of a residual that is recomputed.
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlo.errors import ConfigError
from mlo.linear import CG, GMRES, Damped, Dense, Identity, LinearSolution, Neumann, Nystrom
from mlo.linear.base import failed
from tests.linear.systems import MATRICES, SOLVERS, Counted, randn, residual, solved_system, tolerance

ALL = pytest.mark.parametrize("name", SOLVERS)


@st.composite
def systems(draw):
    n, seed, kind = draw(st.integers(1, 9)), draw(st.integers(0, 2**16)), draw(st.sampled_from(list(MATRICES)))
    dtype = draw(st.sampled_from([torch.float64, torch.float32]))
    if kind in ("huge", "tiny"):
        dtype = torch.float64
    a, b = MATRICES[kind](n, seed), randn(n, seed=seed + 2)
    if draw(st.booleans()) and bool(a.any()):
        b = a @ b / a.abs().max()  # a system that has a solution
    scale = draw(st.sampled_from([1.0, 1e-300, 1e300] if dtype == torch.float64 else [1.0, 1e-30, 1e30]))
    start = draw(st.sampled_from([None, randn(n, seed=seed + 3), torch.linalg.pinv(a) @ b]))
    return a.to(dtype), (b * scale).to(dtype), None if start is None else start.to(dtype)


@ALL
@given(drawn=systems())
def test_no_solver_lies(name, drawn):
    solver, (a, b, start) = SOLVERS[name], drawn
    product = Counted(a)
    found = solver.solve(product, b, start=start)
    assert found.value.isfinite().all()
    assert (found.value.shape, found.value.dtype) == (b.shape, b.dtype)
    assert found.iterations == product.calls
    assert not math.isnan(found.residual) or name == "unmeasured Identity"
    if not bool(b.any()):
        assert found.converged
    elif found.converged:
        true, slack = residual(solved_system(solver, a), found.value, b)
        assert true <= tolerance(solver) + slack
        assert found.residual <= max(tolerance(solver), 32 * torch.finfo(b.dtype).eps)
        assert found.value.any()
    elif not bool(found.value.any()):
        assert failed(found)


EXACT_REPORT = ["GMRES", "restarted GMRES", "GMRES at once", "Dense", "Identity", "Nystrom", "Neumann"]
UPPER_BOUND = ["CG", "short CG", "damped CG"]  # for a symmetric A; its report counts rounding in


@pytest.mark.parametrize("name", [*EXACT_REPORT, *UPPER_BOUND])
@given(drawn=systems())
def test_the_residual_is_that_of_the_value(name, drawn):
    solver, (a, b, start) = SOLVERS[name], drawn
    found = solver.solve(lambda v: a @ v, b, start=start)
    representable = float(found.value.abs().max()) >= torch.finfo(b.dtype).tiny
    meant = name not in UPPER_BOUND or torch.allclose(a, a.T, rtol=0, atol=1e-6 * float(a.abs().max()))
    if bool(b.any()) and found.residual < 1e8 and representable and meant:
        true, slack = residual(solved_system(solver, a), found.value, b)
        assert true <= 1.01 * found.residual + 64 * slack
        assert name in UPPER_BOUND or found.residual <= 1.01 * true + 64 * slack


@pytest.mark.parametrize("name", ["CG", "GMRES", "Dense", "full Nystrom"])
@given(st.integers(1, 9), st.integers(0, 2**16))
def test_direct_and_krylov_solvers_agree_with_a_factorization(name, n, seed):
    a, b = MATRICES["definite"](n, seed), randn(n, seed=seed + 1)
    found = SOLVERS[name].solve(lambda v: a @ v, b)
    assert found.converged
    # Nystrom's damping of 1e-9 moves x by as much, relative to a smallest eigenvalue of 1; the rest is exact.
    assert torch.allclose(found.value, torch.linalg.solve(a, b), rtol=0, atol=1e-8 * float(b.norm()))


@ALL
def test_solving_twice_gives_the_same_and_changes_nothing(name):
    a, b, start = MATRICES["definite"](6, 0), randn(6, seed=1), randn(6, seed=2)
    kept, before = (a.clone(), b.clone(), start.clone()), torch.get_rng_state()
    first, second = (SOLVERS[name].solve(lambda v: a @ v, b, start=start) for _ in range(2))
    assert torch.equal(first.value, second.value)
    assert repr(first) == repr(second)  # NaN is not equal to itself
    assert all(torch.equal(now, then) for now, then in zip((a, b, start), kept, strict=True))
    assert torch.equal(torch.get_rng_state(), before)


@ALL
@pytest.mark.parametrize("n", [0, 3])
def test_a_right_hand_side_of_zero_takes_no_product(name, n):
    product = Counted(torch.eye(n, dtype=torch.float64))
    found = SOLVERS[name].solve(product, torch.zeros(n, dtype=torch.float64), start=torch.ones(n, dtype=torch.float64))
    assert (found.converged, found.residual, product.calls, found.value.shape) == (True, 0.0, 0, (n,))
    assert not found.value.any()


@ALL
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_reported_as_failed(name, bad):
    b = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    if name != "unmeasured Identity":  # it asks for no product
        found = SOLVERS[name].solve(lambda v: torch.full_like(v, bad), b)
        assert found.value.isfinite().all()
        assert failed(found)
    found = SOLVERS[name].solve(lambda v: v, torch.tensor([1.0, bad], dtype=torch.float64))
    assert found.value.isfinite().all()
    assert failed(found)


@ALL
@pytest.mark.parametrize("after", [1, 2, 4])
def test_a_product_that_turns_nan_later_never_reaches_the_value(name, after):
    a = MATRICES["definite"](8, 0)

    product = Counted(a)
    found = SOLVERS[name].solve(
        lambda v: product(v) if product.calls < after else torch.full_like(v, math.nan), randn(8, seed=1)
    )
    assert found.value.isfinite().all()
    assert not found.converged  # none of these is done within four products


@ALL
def test_a_solution_that_the_dtype_cannot_hold_is_not_called_solved(name):
    tiny = SOLVERS[name].solve(lambda v: 1e200 * v, torch.full((3,), 1e-300, dtype=torch.float64))
    huge = SOLVERS[name].solve(lambda v: 1e-200 * v, torch.full((3,), 1e300, dtype=torch.float64))
    assert tiny.value.isfinite().all()
    assert huge.value.isfinite().all()
    assert not tiny.converged
    assert not huge.converged or name in ("damped CG", "damped GMRES", "damped Neumann")  # 1e300 / mu can be held


@pytest.mark.parametrize("name", ["CG", "Dense", "GMRES", "Neumann", "Nystrom"])
def test_negative_curvature_is_seen(name):
    a = MATRICES["indefinite"](6, 0)
    found = SOLVERS[name].solve(lambda v: a @ v, randn(6, seed=1))
    assert found.curvature < 0
    assert found.curvature >= float(torch.linalg.eigvalsh(a)[0]) - 1e-12


@pytest.mark.parametrize(
    ("residual", "value", "converged", "expected"),
    [
        (math.nan, 1.0, False, False),  # not measured
        (0.5, 1.0, False, False),
        (2.0, 1.0, False, False),
        (1.0, 0.0, False, True),  # not one step
        (0.0, 0.0, True, False),
        (1e8, 1.0, False, True),
        (math.inf, 1.0, False, True),
    ],
)
def test_failed(residual, value, converged, expected):
    found = LinearSolution(torch.tensor([value]), residual, 3, converged, math.nan)
    assert failed(found) is expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: CG(tol=1.0),
        lambda: CG(tol=math.nan),
        lambda: Dense(tol=-1.0),
        lambda: Neumann(step_size=math.inf),
        lambda: Neumann(max_steps=True),
        lambda: GMRES(max_steps=0),
        lambda: GMRES(restart=0),
        lambda: GMRES(tol="small"),
        lambda: Identity(step_size=0.0),
        lambda: Nystrom(rank=0),
        lambda: Nystrom(damping=0.0),
        lambda: Nystrom(seed=0.5),
        lambda: Damped(CG(), -1.0),
        lambda: Damped(CG(), math.nan),
        lambda: Damped(CG, 1.0),
    ],
)
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ConfigError, match=r"^(CG|Dense|Neumann|GMRES|Identity|Nystrom|Damped): \w+ must be"):
        make()
