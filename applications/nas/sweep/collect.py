"""What the finished points of a sweep came to, over their seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from applications.nas.report.read import read_retrained
from applications.nas.report.records import read_searched
from applications.nas.report.spread import spread
from applications.nas.sweep.line import Line
from applications.nas.sweep.plan import Axis, Point
from applications.nas.sweep.point import RETRAIN, finished

SKIPS = "skip connections"


def collect(axes: Sequence[Axis], plan: Sequence[Point], folder: Path, over: str = "searches") -> list[Line]:
    """Read the finished points of a sweep, or of a part of a study; what a spread is over, it says itself.

    Args:
        axes: The fields whose values are compared; the seed is none of them.
        plan: The points.
        folder: Of the sweep.
        over: What a point is: "searches" or "cells".

    Raises:
        DataError: If a file of a finished point is broken; the message names it.
    """
    groups: dict[tuple[str, ...], list[Point]] = {}
    for point in plan:
        groups.setdefault(tuple(point.words[axis.field] for axis in axes), []).append(point)
    lines = []
    for members in groups.values():
        found: dict[str, dict[object, list[float]]] = {}
        for point in members:
            if finished(folder / point.name, point):
                for name, value in _measured(folder / point.name, retrained=point.retrain is not None):
                    found.setdefault(name, {}).setdefault(point.name, []).append(value)
        results = {name: spread(groups, over) for name, groups in found.items()}
        lines.append(Line({axis.field: members[0].words[axis.field] for axis in axes}, members[0], results))
    return lines


def _measured(folder: Path, *, retrained: bool) -> list[tuple[str, float]]:
    """Return what a point measured, by column; without a retraining, what is known of its cell."""
    if not retrained:
        return [(SKIPS, float(sum(read_searched(folder).skips.values())))]
    return [(f"{test.task}: test {test.metric}", test.error) for test in read_retrained(folder / RETRAIN).tests]
