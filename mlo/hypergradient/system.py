"""The equation r(y, z) = 0 that holds an implicit answer, in the form that `root` works with: vectors and tuples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from mlo.hypergradient.base import Node
from mlo.rng import RandomState, replayed
from mlo.vector import Params, Values, unravel, zeros_like


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
        self.inputs: tuple[Tensor, ...] = tuple(value for params in others.values() for value in params.values())

    @abstractmethod
    def evaluate(self, unknown: Params, others: Values) -> Tensor:
        """Return r as a vector, differentiable in everything."""

    def residual(self, y: Tensor, *inputs: Tensor) -> Tensor:
        """Return r(y, z)."""
        remaining = iter(inputs)
        others = {name: {key: next(remaining) for key in params} for name, params in self.others.items()}
        with replayed(self.random):
            return self.evaluate(unravel(y, self.unknown), others)

    def named(self, parts: Sequence[Tensor | None], wanted: Sequence[str]) -> dict[str, Params]:
        """Group the cotangents on `inputs` by problem."""
        remaining, result = iter(parts), {}
        for name, params in self.others.items():
            found = {key: next(remaining) for key in params}
            if name in wanted and any(value is not None for value in found.values()):
                zero = zeros_like(params)
                result[name] = {key: zero[key] if value is None else value for key, value in found.items()}
        return result
