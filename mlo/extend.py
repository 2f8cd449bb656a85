"""What a response rule or a linear solver of your own is made of.

A rule subclasses `AbstractResponse`: it is handed a `Node`, the problem in its place in a graph, returns a `Trace` of
the solve, and turns a cotangent on the answer into a `Pullback`. A solver subclasses `AbstractLinearSolver`. Both are
given to a problem as ours are; nothing is registered. `docs/extending.md` shows one of each, and how to test them.
"""

from mlo.hypergradient.base import AbstractResponse, Evaluation, Linearization, Node, Point, Pullback, Trace
from mlo.hypergradient.run import run
from mlo.linear.base import AbstractLinearSolver, Matvec
from mlo.rng import RandomState, replayed
from mlo.vector import Params, Values, ravel, unravel

__all__ = [
    "AbstractLinearSolver",
    "AbstractResponse",
    "Evaluation",
    "Linearization",
    "Matvec",
    "Node",
    "Params",
    "Point",
    "Pullback",
    "RandomState",
    "Trace",
    "Values",
    "ravel",
    "replayed",
    "run",
    "unravel",
]
