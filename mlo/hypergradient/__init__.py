"""Response rules, and the second-order products that they are made of."""

from mlo.hypergradient.base import AbstractResponse
from mlo.hypergradient.first_order import FirstOrder
from mlo.hypergradient.fixed_point import FixedPoint
from mlo.hypergradient.implicit import Implicit
from mlo.hypergradient.penalty import Penalty
from mlo.hypergradient.second_order import AbstractProduct, Exact, FiniteDifference
from mlo.hypergradient.single_loop import SingleLoop
from mlo.hypergradient.unroll import Unroll

__all__ = [
    "AbstractProduct",
    "AbstractResponse",
    "Exact",
    "FiniteDifference",
    "FirstOrder",
    "FixedPoint",
    "Implicit",
    "Penalty",
    "SingleLoop",
    "Unroll",
]
