"""Solvers for A x = b that see A through products only."""

from mlo.linear.base import AbstractLinearSolver, LinearSolution
from mlo.linear.cg import CG
from mlo.linear.damped import Damped
from mlo.linear.dense import Dense
from mlo.linear.gmres import GMRES
from mlo.linear.identity import Identity
from mlo.linear.neumann import Neumann
from mlo.linear.nystrom import Nystrom

__all__ = [
    "CG",
    "AbstractLinearSolver",
    "Damped",
    "Dense",
    "GMRES",
    "Identity",
    "LinearSolution",
    "Neumann",
    "Nystrom",
]
