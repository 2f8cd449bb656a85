"""Multi-level optimization: hypergradients of any problem graph, right, fast and safe.

See `Problem` and `ProblemGraph` for declaring, `hypergradient` for just the gradient, `Engine` for training,
`interleave` for chains of learners, `mlo.testing` for checking a problem of your own, and `mlo.extend` for rules and
linear solvers of your own.
"""

from mlo import extend, testing
from mlo.advice import Advice, Measurement
from mlo.advise import advise
from mlo.autocast import Autocast
from mlo.batch_norm import SyncBatchNorm
from mlo.checkpoint import Checkpoints, Kept, restore, save
from mlo.clip_parts import ClipParts
from mlo.determinism import deterministic
from mlo.divergence import Skip, Stop
from mlo.engine import Engine
from mlo.errors import (
    ConfigError,
    DamagedError,
    DamagedWarning,
    DataError,
    DivergenceError,
    GraphError,
    HypergradientMismatch,
    LossError,
    MLOError,
    RankError,
    ReadError,
    StabilityError,
    UnconvergedError,
    UnconvergedWarning,
)
from mlo.gradient import hypergradient
from mlo.graph import ProblemGraph
from mlo.hand_over import HandOver
from mlo.hypergradient import (
    Exact,
    FiniteDifference,
    FirstOrder,
    FixedPoint,
    Forward,
    Implicit,
    Penalty,
    Recompute,
    Record,
    SingleLoop,
    Unroll,
)
from mlo.interleave import influence, interleave
from mlo.linear import CG, GMRES, Damped, Dense, Identity, LinearSolution, Neumann, Nystrom
from mlo.parallel import Alone, Parallel
from mlo.pieces import Sum
from mlo.position import Position
from mlo.problem import Problem
from mlo.proximal import Proximal
from mlo.report import Report
from mlo.update import Clipped, Learned, clip_norm
from mlo.version import __version__
from mlo.view import View

__all__ = [
    "Advice",
    "Alone",
    "Autocast",
    "CG",
    "Checkpoints",
    "ClipParts",
    "Clipped",
    "ConfigError",
    "DamagedError",
    "DamagedWarning",
    "Damped",
    "DataError",
    "Dense",
    "DivergenceError",
    "Engine",
    "Exact",
    "FiniteDifference",
    "FirstOrder",
    "FixedPoint",
    "Forward",
    "GMRES",
    "GraphError",
    "HandOver",
    "HypergradientMismatch",
    "Identity",
    "Implicit",
    "Kept",
    "Learned",
    "LinearSolution",
    "LossError",
    "MLOError",
    "Measurement",
    "Neumann",
    "Nystrom",
    "Parallel",
    "Penalty",
    "Position",
    "Problem",
    "ProblemGraph",
    "Proximal",
    "RankError",
    "ReadError",
    "Recompute",
    "Record",
    "Report",
    "SingleLoop",
    "Skip",
    "StabilityError",
    "Stop",
    "Sum",
    "SyncBatchNorm",
    "UnconvergedError",
    "UnconvergedWarning",
    "Unroll",
    "View",
    "__version__",
    "advise",
    "clip_norm",
    "deterministic",
    "extend",
    "hypergradient",
    "influence",
    "interleave",
    "restore",
    "save",
    "testing",
]
