"""The equation r(y, z) = 0 that holds an implicit answer, in the form that `root` works with: vectors and tuples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from mlo.flat import Flat
from mlo.hypergradient.base import Node
from mlo.rng import RandomState, replayed
from mlo.vector import Params, Values, ravel, unravel


class System(ABC):
    """An equation for an unknown vector y that begins with the problem's variable, given the values of its inputs.

    Args:
        node: The problem.
        unknown: Tensors by name whose entries are y, at the answer; those of the variable come first.
        others: Values of the inputs.
    """

    def __init__(self, node: Node, unknown: Params, others: Values) -> None:
        """Keep what is fixed."""
        self.node, self.unknown, self.others = node, unknown, others
        # Every evaluation of r sees the same dropout masks: otherwise it is another function each time.
        self.random = RandomState.capture()
        # In the form that they have now: a Flat of somebody else may come to be one of vectors, and have other roots.
        self._flat = {name: flat.like_roots(flat.roots) for name, flat in ((n, Flat.of(o)) for n, o in others.items())}
        self.inputs: tuple[Tensor, ...] = tuple(value for flat in self._flat.values() for value in flat.roots)

    @abstractmethod
    def evaluate(self, unknown: Params, others: Values) -> Tensor:
        """Return r as a vector, differentiable in everything."""

    def variable(self, y: Tensor) -> Params:
        """Return that part of an unknown vector which is the variable."""
        return unravel(y, self.unknown)

    def unknown_at(self, answer: Params) -> Tensor:
        """Return y where the variable is `answer`."""
        return ravel(answer)

    def widened(self, cotangent: Params) -> Tensor:
        """Return a cotangent on the variable as one on y."""
        return ravel(cotangent)

    def residual(self, y: Tensor, *inputs: Tensor) -> Tensor:
        """Return r(y, z)."""
        remaining = iter(inputs)
        others = {name: flat.like_roots([next(remaining) for _ in flat.roots]) for name, flat in self._flat.items()}
        with replayed(self.random):
            return self.evaluate(unravel(y, self.unknown), others)

    def named(self, parts: Sequence[Tensor | None], wanted: Sequence[str]) -> dict[str, Params]:
        """Group the cotangents on `inputs` by problem."""
        remaining, result = iter(parts), dict[str, Params]()
        for name, flat in self._flat.items():
            found = [next(remaining) for _ in flat.roots]
            if name in wanted and any(value is not None for value in found):
                result[name] = flat.filled(found)
        return result
