"""Every solver inside `mlo.Implicit`, on a quadratic bilevel problem that is solved on paper.

min_z |w(z) - t|^2 / 2,  w(z) = argmin_w w.A w / 2 - w.B z = A^-1 B z,  so that the hypergradient is B^T A^-1 (w - t).
A solver that gives u in place of A^-1 c gives B^T u.
"""

import pytest
import torch
import torchopt

import mlo
from tests.linear.systems import identity, randn, spd

A, B, T, Z = spd(5, 4.0, 0), randn(5, 3, seed=1), randn(5, seed=2), randn(3, seed=3)
W = torch.linalg.solve(A, B @ Z)
TRUTH = B.T @ torch.linalg.solve(A, W - T)


def hypergradient(solver):
    top = mlo.Problem("z", lambda v, _: 0.5 * ((v.w - T) ** 2).sum(), Z, reads=["w"], update=torchopt.sgd(0.1))
    low = mlo.Problem(
        "w",
        lambda v, _: 0.5 * v.w @ A @ v.w - v.w @ B @ v.z,
        W,
        reads=["z"],
        update=torchopt.sgd(0.1),
        response=mlo.Implicit(solver),
    )
    return mlo.hypergradient(mlo.ProblemGraph([top, low]), of="z")


# The tolerance of a solver times |A^-1| |B| / |TRUTH|, which is below 100.
@pytest.mark.parametrize(
    ("solver", "tol"),
    [
        (mlo.CG(), 1e-8),
        (mlo.GMRES(), 1e-8),
        (mlo.GMRES(restart=3), 1e-8),
        (mlo.Neumann(max_steps=200), 1e-8),
        (mlo.Dense(), 1e-12),
        (mlo.Nystrom(rank=5, damping=1e-10), 1e-8),
        (mlo.Damped(mlo.CG(), 0.0), 1e-8),
        (mlo.Damped(mlo.GMRES(), 1e-10), 1e-8),
    ],
    ids=str,
)
def test_solvers_give_the_closed_form(solver, tol):
    assert torch.allclose(hypergradient(solver), TRUTH, rtol=0, atol=tol * float(TRUTH.norm()))


@pytest.mark.parametrize(
    ("solver", "inverse"),
    [
        (mlo.Identity(step_size=0.3), 0.3 * identity(5)),
        (mlo.Identity(step_size=0.3, measure=False), 0.3 * identity(5)),
        (mlo.Neumann(max_steps=1, step_size=0.3), 0.3 * (2 * identity(5) - 0.3 * A)),
        (mlo.Damped(mlo.CG(), 2.0), torch.linalg.inv(A + 2 * identity(5))),
    ],
    ids=lambda made: "" if isinstance(made, torch.Tensor) else str(made),
)
@pytest.mark.filterwarnings("ignore::mlo.UnconvergedWarning")  # that they are approximations is the point
def test_approximations_give_their_own_formula(solver, inverse):
    assert torch.allclose(hypergradient(solver), B.T @ inverse @ (W - T), rtol=1e-8)
    assert not torch.allclose(hypergradient(solver), TRUTH, rtol=1e-2)
