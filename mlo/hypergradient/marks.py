"""Places of a solve from which its steps can be made again, to the same numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mlo.errors import LossError
from mlo.flat import Flat
from mlo.hypergradient.base import Point
from mlo.hypergradient.memory import Course, Log
from mlo.hypergradient.run import advance, own_gradient
from mlo.rng import RandomState, replayed
from mlo.update import split_state
from mlo.vector import detach


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
    make = _recorded
    for index in range(course.steps):
        start, random = point, None if index % every else RandomState.capture()
        point = make(course, start, log)
        if random is not None:
            marks.append(Mark(start, random, log.losses[-1], min(every, course.steps - index)))
            if index == 0 and _same(point, _plain_again(course, marks[0])):
                make = _plain
    return point, log, marks


def _recorded(course: Course, point: Point, log: Log) -> Point:
    """Make one step as it will be made again; its graph ends with this call."""
    step = course.step(point)
    log.note(step.linearization.seen.loss, detach(step.linearization.gradient))
    return step.end


def _plain(course: Course, point: Point, log: Log) -> Point:
    """Make one step without a graph, which is quicker."""
    node, others = course.node, course.constants
    seen = node.gradient(point, others, (node.name,))
    gradient = own_gradient(seen, node)
    log.note(seen.loss, gradient)
    return advance(node, point, gradient, others, seen.buffers)


def _plain_again(course: Course, mark: Mark) -> Point:
    with replayed(mark.random):
        return _plain(course, mark.point, Log())


def _same(left: Point, right: Point) -> bool:
    """Tell whether two points have the same bits.

    A step with a graph and one without need not: some derivatives of torch (SiLU, group normalization) have a formula
    for each, and answers inside may respond by differences in the one and exactly in the other.
    """
    pairs = [*zip(Flat.of(left.params).vectors, Flat.of(right.params).vectors, strict=True)]
    pairs += zip(split_state(left.state)[0], split_state(right.state)[0], strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


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
