"""Keep a few places, and make the steps between them again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlo.checks import check_count
from mlo.hypergradient.base import Trace
from mlo.hypergradient.marks import Mark, check_again, walk
from mlo.hypergradient.memory import AbstractMemory, AbstractTape, Course
from mlo.hypergradient.step import Step
from mlo.rng import replayed
from mlo.vector import Params


@dataclass(frozen=True)
class Recompute(AbstractMemory):
    """Keep where the problem stood before every k-th step; the pullback makes each k steps again, last ones first.

    Of T steps, T / k places (variable, optimizer state, buffers, generators) and the graphs of k steps are in memory:
    least for k about sqrt(T), where places are as large as graphs. Every step is made once more; the first one a third
    time, to see whether a step without a graph, which is quicker, ends in the same bits. The gradient is that of
    `Record`, bit for bit wherever an operation gives the same bits twice.

    A loss must give the same number again: it may draw from the global generators of torch, numpy and Python, which are
    put back, but not from one of its own. That is checked at each place that was kept.

    Attributes:
        every: k. None is the square root of T, rounded up.

    Raises:
        ConfigError: If `every` is not a whole number >= 1.

    Source: Training Deep Nets with Sublinear Memory Cost (Chen, Xu, Zhang, Guestrin, 2016), section 4.3, with updates
    in the place of layers.
    """

    every: int | None = None

    def __post_init__(self) -> None:
        """Check the setting."""
        if self.every is not None:
            check_count("Recompute", "every", self.every)

    def solve(self, course: Course) -> Trace:
        """Make the steps, keeping a mark at every k-th."""
        every = self.every or max(1, math.isqrt(max(course.steps - 1, 0)) + 1)
        end, log, marks = walk(course, every)
        return log.trace(end.params, end, _Segments(course, marks))


@dataclass(frozen=True, eq=False)
class _Segments(AbstractTape):
    course: Course
    marks: list[Mark]

    def pull(self, cotangent: Params, wanted: Sequence[str], *, differentiable: bool) -> dict[str, Params]:
        """Make one segment of steps again and go back over it, then the one before."""
        sweep = self.course.sweep(cotangent, wanted, differentiable=differentiable)
        for index in range(len(self.marks) - 1, -1, -1):
            steps = self._again(self.marks[index])
            while steps:
                sweep.back(steps.pop(), first=index == 0 and not steps)  # with a step goes its graph
        return sweep.ended()

    def _again(self, mark: Mark) -> list[Step]:
        point, steps = mark.point, list[Step]()
        with replayed(mark.random):
            for _ in range(mark.steps):
                steps.append(self.course.step(point))
                point = steps[-1].end
        check_again(self.course.node.name, mark, steps[0].linearization.seen.loss)
        return steps
