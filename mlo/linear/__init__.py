"""Solvers for A x = b that see A through products only."""

from mlo.linear.base import AbstractLinearSolver, LinearSolution
from mlo.linear.cg import CG
from mlo.linear.dense import Dense
from mlo.linear.neumann import Neumann

__all__ = ["CG", "AbstractLinearSolver", "Dense", "LinearSolution", "Neumann"]
