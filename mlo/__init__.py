"""Multi-level optimization: hypergradients of any problem graph, right, fast and safe.

See `Problem` and `ProblemGraph` for declaring, `hypergradient` for just the gradient, `Engine` for training,
`interleave` for chains of learners, and `mlo.testing` for checking a problem of your own.
"""

from mlo import testing
from mlo.engine import Engine, Report
from mlo.errors import (
    ConfigError,
    DataError,
    DivergenceError,
    GraphError,
    HypergradientMismatch,
    LossError,
    MLOError,
    ReadError,
    StabilityError,
)
from mlo.gradient import hypergradient
from mlo.graph import ProblemGraph
from mlo.hypergradient import Exact, FiniteDifference, FirstOrder, Implicit, Unroll
from mlo.interleave import influence, interleave
from mlo.linear import CG, Dense, LinearSolution, Neumann
from mlo.problem import Problem
from mlo.proximal import Proximal
from mlo.update import Clipped, Learned, clip_norm
from mlo.view import View

__version__ = "0.1.0"

__all__ = [
    "CG",
    "Clipped",
    "ConfigError",
    "DataError",
    "Dense",
    "DivergenceError",
    "Engine",
    "Exact",
    "FiniteDifference",
    "FirstOrder",
    "GraphError",
    "HypergradientMismatch",
    "Implicit",
    "Learned",
    "LinearSolution",
    "LossError",
    "MLOError",
    "Neumann",
    "Problem",
    "ProblemGraph",
    "Proximal",
    "ReadError",
    "Report",
    "StabilityError",
    "Unroll",
    "View",
    "__version__",
    "clip_norm",
    "hypergradient",
    "influence",
    "interleave",
    "testing",
]
