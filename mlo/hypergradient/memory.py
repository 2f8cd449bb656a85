"""What is kept of the steps that are to be differentiated: the interface of the choices for `Unroll`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from mlo.hypergradient.base import Node, Point, Trace
from mlo.hypergradient.second_order import AbstractProduct, Exact
from mlo.hypergradient.step import Step, Sweep, begun, record_step
from mlo.vector import Params, Values, constants, norm


@dataclass(frozen=True, eq=False)
class Course:
    """The part of a solve that is differentiated.

    Attributes:
        node: The problem.
        product: How second-order products are taken.
        others: Values of the inputs.
        start: Where the first of these steps starts.
        steps: How many updates.
        differentiable: Whether the steps carry their history, so that autograd can differentiate through them.
        handed: The inputs that `start` depends on; none if it is a constant.
    """

    node: Node
    product: AbstractProduct
    others: Values
    start: Point
    steps: int
    differentiable: bool
    handed: tuple[str, ...] = ()

    @cached_property
    def constants(self) -> Values:
        """The values of the inputs without history."""
        return constants(self.others)

    def step(self, point: Point) -> Step:
        """Make one update from `point`, recorded."""
        # Inside an exact product of a problem above, everything below is differentiated exactly too.
        if self.differentiable:
            linearization = Exact().linearize(self.node, point, self.others, differentiable=True)
        elif self.node.ahead is not None:  # then this is the one step
            linearization = self.node.ahead
        else:
            linearization = self.product.linearize(self.node, point, self.others)
        return record_step(self.node, point, linearization, self.others, differentiable=self.differentiable)

    def sweep(self, cotangent: Params, wanted: Sequence[str], *, differentiable: bool) -> Sweep:
        """Return the reverse sweep over the steps, from a cotangent on the answer."""
        begin = begun(self.node, self.others, set(self.handed).intersection(wanted), differentiable=differentiable)
        return Sweep(self.node.name, cotangent, wanted, begin, differentiable=differentiable)


class AbstractTape(ABC):
    """What was kept of a course."""

    @abstractmethod
    def pull(self, cotangent: Params, wanted: Sequence[str], *, differentiable: bool) -> dict[str, Params]:
        """Pull a cotangent on the answer back to the inputs named in `wanted`."""


class AbstractMemory(ABC):
    """What to keep of the steps of a solve.

    Law: for every course, `solve` gives the same numbers, draws the same random numbers, and its tape pulls every
    cotangent back to the same cotangents, up to the order of additions.

    Attributes:
        exact_only: Whether products have to be `Exact`.
    """

    exact_only: ClassVar[bool] = False

    @abstractmethod
    def solve(self, course: Course) -> Trace:
        """Make the steps; the trace's record is the tape."""


@dataclass
class Log:
    """What a trace tells of the steps, besides their end."""

    losses: list[Tensor] = field(default_factory=list)
    gradient: Params | None = None

    def note(self, loss: Tensor, gradient: Params) -> None:
        """Add the next step."""
        self.losses.append(loss)
        self.gradient = gradient

    def trace(self, answer: Params, end: Point, tape: AbstractTape) -> Trace:
        """Return the trace of all steps."""
        with torch.no_grad():
            size = None if self.gradient is None else norm(self.gradient)
        return Trace(answer, end, tuple(self.losses), size, len(self.losses), tape)
