"""Matrices of every kind that a solver may meet, and all solvers: two tables that the tests cross."""

import math

import torch

from mlo.linear import CG, GMRES, Damped, Dense, Identity, Neumann, Nystrom

F64 = torch.float64


def randn(*shape, seed, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def rotated(eigenvalues, seed):
    """A symmetric matrix with the given eigenvalues."""
    q, _ = torch.linalg.qr(randn(len(eigenvalues), len(eigenvalues), seed=seed))
    return q * torch.as_tensor(eigenvalues, dtype=F64) @ q.T


def spd(n, condition, seed):
    return rotated(torch.logspace(0, math.log10(condition), n, dtype=F64), seed)


def identity(n):
    return torch.eye(n, dtype=F64)


MATRICES = {
    "definite": lambda n, seed: spd(n, 30.0, seed),
    "ill-conditioned": lambda n, seed: spd(n, 1e8, seed),
    "isotropic": lambda n, seed: 2.0 * identity(n),
    "indefinite": lambda n, seed: rotated([(-1.0) ** i * (1 + i / n) for i in range(n)], seed),
    "negative": lambda n, seed: -spd(n, 30.0, seed),
    "singular": lambda n, seed: rotated([0.0 if i % 2 else 1.0 + i for i in range(n)], seed),
    "zero": lambda n, seed: torch.zeros(n, n, dtype=F64),
    "nonsymmetric": lambda n, seed: randn(n, n, seed=seed),
    "nonsymmetric, definite": lambda n, seed: randn(n, n, seed=seed) + 3 * n**0.5 * identity(n),
    "nonsymmetric, singular": lambda n, seed: randn(n, 1 + n // 2, seed=seed) @ randn(1 + n // 2, n, seed=seed + 1),
    "shift": lambda n, seed: torch.roll(identity(n), 1, 0),
    "nilpotent": lambda n, seed: torch.triu(torch.ones(n, n, dtype=F64), 1),
    "huge": lambda n, seed: 1e200 * spd(n, 30.0, seed),
    "tiny": lambda n, seed: 1e-200 * spd(n, 30.0, seed),
}

SOLVERS = {
    "CG": CG(),
    "short CG": CG(max_steps=2, tol=1e-3),
    "Neumann": Neumann(max_steps=60, tol=1e-6),
    "short Neumann": Neumann(max_steps=1),
    "Neumann, own step": Neumann(max_steps=60, step_size=0.3, tol=1e-4),
    "GMRES": GMRES(),
    "restarted GMRES": GMRES(restart=2, tol=1e-6),
    "GMRES at once": GMRES(max_steps=4, restart=None),
    "Dense": Dense(),
    "Identity": Identity(step_size=0.5),
    "unmeasured Identity": Identity(measure=False),
    "Nystrom": Nystrom(rank=3),
    "full Nystrom": Nystrom(rank=99, damping=1e-9),
    "damped CG": Damped(CG(), 0.5),
    "damped GMRES": Damped(GMRES(), 1e-3),
    "damped Neumann": Damped(Neumann(max_steps=60, tol=1e-3), 0.5),
}


class Counted:
    """v -> A v, counting."""

    def __init__(self, a):
        self.a, self.calls = a, 0

    def __call__(self, v):
        self.calls += 1
        return self.a @ v


def tolerance(solver):
    return tolerance(solver.solver) if isinstance(solver, Damped) else solver.tol


def solved_system(solver, a):
    return a + solver.mu * torch.eye(len(a), dtype=a.dtype) if isinstance(solver, Damped) else a


def residual(a, x, b):
    """|A x - b| / |b| and what rounding may leave of it, in double precision and without overflow.

    A product of n terms has a rounding error of up to n eps |A| |x|; the factor 32 covers n and a few of them.
    """
    eps = torch.finfo(b.dtype).eps
    a, x, b = a.double(), x.double(), b.double()
    sizes = [float(t.abs().max()) or 1.0 for t in (a, x, b)]
    a, x, b = a / sizes[0], x / sizes[1], b / sizes[2]
    factor = math.exp(math.log(sizes[0]) + math.log(sizes[1]) - math.log(sizes[2]))
    slack = 32 * eps * (1 + factor * float(torch.linalg.matrix_norm(a, 2) * x.norm() / b.norm()))
    return float((factor * (a @ x) - b).norm() / b.norm()), slack
