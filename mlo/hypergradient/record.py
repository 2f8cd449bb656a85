"""Keep every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlo.hypergradient.base import Point, Trace
from mlo.hypergradient.memory import AbstractMemory, AbstractTape, Course, Log
from mlo.hypergradient.step import Step
from mlo.update import detach_state
from mlo.vector import Params, detach


@dataclass(frozen=True)
class Record(AbstractMemory):
    """Keep the graph of every step: no step is made twice, and memory grows with their number T.

    Source: Forward and Reverse Gradient-Based Hyperparameter Optimization (Franceschi et al., 2017), algorithm 1.
    """

    def solve(self, course: Course) -> Trace:
        """Make the steps, recording each."""
        point, steps, log = course.start, list[Step](), Log()
        for _ in range(course.steps):
            step = course.step(point)
            log.note(step.linearization.seen.loss, step.linearization.gradient)
            steps.append(step)
            point = step.end
            if course.differentiable:
                point = Point(step.params, step.state, point.buffers)
        end = Point(detach(point.params), detach_state(point.state), point.buffers)
        return log.trace(point.params, end, _Steps(course, steps))


@dataclass(frozen=True, eq=False)
class _Steps(AbstractTape):
    course: Course
    steps: list[Step]

    def pull(self, cotangent: Params, wanted: Sequence[str], *, differentiable: bool) -> dict[str, Params]:
        """Go back over the steps."""
        sweep = self.course.sweep(cotangent, wanted, differentiable=differentiable)
        for index in range(len(self.steps) - 1, -1, -1):
            sweep.back(self.steps[index], first=index == 0)
        return sweep.ended()
