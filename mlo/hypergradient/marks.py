"""Places of a solve from which its steps can be made again, to the same numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mlo.errors import LossError
from mlo.hypergradient.base import Point
from mlo.hypergradient.memory import Course, Log
from mlo.rng import RandomState


@dataclass(frozen=True, eq=False)
class Mark:
    """A place on a course.

    Attributes:
        point: Where the problem stood; without history.
        random: The generators then.
        loss: The loss there.
        steps: How many updates follow up to the next mark, or the end.
    """

    point: Point
    random: RandomState
    loss: Tensor
    steps: int


def walk(course: Course, every: int) -> tuple[Point, Log, list[Mark]]:
    """Make the steps of a course; keep a mark at the first and at each `every`-th after it, and nothing else."""
    point, log, marks = course.start, Log(), list[Mark]()
    for index in range(course.steps):
        if index % every:
            point = _noted(course, point, log)
        else:
            start, random = point, RandomState.capture()
            point = _noted(course, point, log)
            marks.append(Mark(start, random, log.losses[-1], min(every, course.steps - index)))
    return point, log, marks


def _noted(course: Course, point: Point, log: Log) -> Point:
    """Make one step; its graph ends with this call, before the next step makes another."""
    step = course.step(point)
    log.note(step)
    return step.end


def check_again(name: str, mark: Mark, loss: Tensor) -> None:
    """Check the loss of problem `name` at a mark that was returned to.

    Raises:
        LossError: If it is another one. Half of the digits are compared: a device may add in another order.
    """
    before, now = float(mark.loss), float(loss)
    allowed = math.sqrt(torch.finfo(loss.dtype).eps) * max(abs(before), abs(now))
    if math.isfinite(before) and math.isfinite(now) and abs(now - before) > allowed:
        raise LossError(
            f"the loss of problem {name!r} was {before:.6g} and is {now:.6g} when its step is made again: let it draw "
            "from the global generators and keep no state of its own, or unroll with memory=mlo.Record()"
        )
