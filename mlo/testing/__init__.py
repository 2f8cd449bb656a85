"""Property tests for hypergradients: of this library, and of a problem graph of one's own.

`mlo.testing.strategies` needs hypothesis and is imported on its own: `from mlo.testing import strategies`.
"""

from mlo.testing.check import check_deterministic, check_hypergradient
from mlo.testing.quadratic import QuadraticGraph, quadratic_graph

__all__ = ["QuadraticGraph", "check_deterministic", "check_hypergradient", "quadratic_graph"]
