"""Property tests for hypergradients: of this library, and of a problem graph of one's own.

`mlo.testing.strategies` needs hypothesis, which is imported when the name is first used.
"""

from importlib import import_module
from typing import Any

from mlo.testing.check import check_deterministic, check_hypergradient
from mlo.testing.quadratic import QuadraticGraph, quadratic_graph

__all__ = ["QuadraticGraph", "check_deterministic", "check_hypergradient", "quadratic_graph", "strategies"]


def __getattr__(name: str) -> Any:
    """Import `strategies` on demand."""
    if name == "strategies":
        return import_module("mlo.testing.strategies")
    raise AttributeError(f"module 'mlo.testing' has no attribute {name!r}")
