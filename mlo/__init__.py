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
    UnconvergedError,
    UnconvergedWarning,
)
from mlo.gradient import hypergradient
from mlo.graph import ProblemGraph
from mlo.hypergradient import Exact, FiniteDifference, FirstOrder, FixedPoint, Implicit, Penalty, SingleLoop, Unroll
from mlo.interleave import influence, interleave
from mlo.linear import CG, GMRES, Damped, Dense, Identity, LinearSolution, Neumann, Nystrom
from mlo.problem import Problem
from mlo.proximal import Proximal
from mlo.update import clip_norm
from mlo.view import View

__version__ = "0.1.0"

__all__ = [
    "CG",
    "ConfigError",
    "Damped",
    "DataError",
    "Dense",
    "DivergenceError",
    "Engine",
    "Exact",
    "FiniteDifference",
    "FirstOrder",
    "FixedPoint",
    "GMRES",
    "GraphError",
    "HypergradientMismatch",
    "Identity",
    "Implicit",
    "LinearSolution",
    "LossError",
    "MLOError",
    "Neumann",
    "Nystrom",
    "Penalty",
    "Problem",
    "ProblemGraph",
    "Proximal",
    "ReadError",
    "Report",
    "SingleLoop",
    "StabilityError",
    "UnconvergedError",
    "UnconvergedWarning",
    "Unroll",
    "View",
    "__version__",
    "clip_norm",
    "hypergradient",
    "influence",
    "interleave",
    "testing",
]
