"""How several processes share the work of a step."""

from mlo.parallel.base import AbstractRanks, Alone
from mlo.parallel.parallel import Parallel, present_ranks

__all__ = ["AbstractRanks", "Alone", "Parallel", "present_ranks"]
