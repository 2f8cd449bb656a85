"""Where the boxes of a drawn problem graph lie, and the ways of the lines between them."""

from __future__ import annotations

from dataclasses import dataclass

from applications.nas.draw.label_places import Point
from applications.nas.draw.sketch import GraphSketch, Stage

ANSWER, VALUE, NEAR = "answer", "value", "near"
"""Kinds of lines."""

WIDTH, HEIGHT = 2.1, 0.74
_ACROSS, _DOWN = 4.2, 1.5
# How far beside its boxes the lines of a column run, and how far off the middle of a side they meet a box.
_GUTTER, _UP = 0.26, 0.17

Bar = tuple[float, float, float]
"""Left, right and middle height of the outermost problem."""


@dataclass(frozen=True)
class Wire:
    """A line of straight pieces that ends in an arrowhead."""

    kind: str
    points: tuple[Point, ...]
    label: str = ""
    label_at: Point | None = None
    remembered: bool = False


def wires_of(sketch: GraphSketch) -> tuple[dict[str, Point], Bar, list[Wire]]:
    """Place everything that is drawn of a problem graph.

    Args:
        sketch: The graph.

    Returns:
        The centers of the stages, where the outermost problem lies, and the lines.
    """
    centers = {name: (_ACROSS * column, -_DOWN * row) for name, (row, column) in sketch.places().items()}
    xs = [x for x, _ in centers.values()] or [0.0]
    bar = (min(xs) - WIDTH / 2 - 2 * _GUTTER, max(xs) + WIDTH / 2 + 2 * _GUTTER, _DOWN)
    wires = [_value(centers[one.name], bar) for one in sketch.stages if sketch.top.name in one.reads]
    wires += [_answer(centers[one.name], bar) for one in sketch.stages if one.name in sketch.top.reads]
    wires += [_near(centers[one.near], centers[one.name], one) for one in sketch.stages if one.near in centers]
    for one in sketch.stages:
        others = [name for name in one.reads if name in centers and name != one.near]
        wires += [_near(centers[name], centers[one.name], Stage(one.name), kind=ANSWER) for name in others]
    return centers, bar, wires


def _value(center: Point, bar: Bar) -> Wire:
    """From the outermost problem down into a stage: straight, or past the rows above it on the left."""
    x, y = center
    floor = bar[2] - HEIGHT / 2
    if y == 0.0:
        return Wire(VALUE, ((x - WIDTH / 4, floor), (x - WIDTH / 4, y + HEIGHT / 2)))
    beside = x - WIDTH / 2 - _GUTTER
    return Wire(VALUE, ((beside, floor), (beside, y + _UP), (x - WIDTH / 2, y + _UP)))


def _answer(center: Point, bar: Bar) -> Wire:
    """From a stage up into the outermost problem: straight, or past the rows above it on the right."""
    x, y = center
    floor = bar[2] - HEIGHT / 2
    if y == 0.0:
        return Wire(ANSWER, ((x + WIDTH / 4, y + HEIGHT / 2), (x + WIDTH / 4, floor)))
    beside = x + WIDTH / 2 + _GUTTER
    return Wire(ANSWER, ((x + WIDTH / 2, y + _UP), (beside, y + _UP), (beside, floor)))


def _near(start: Point, end: Point, stage: Stage, kind: str = NEAR) -> Wire:
    """From one stage to another: along the row, down to the next row, or around the left for all else."""
    label, kept = stage.strength, stage.remembered
    (x, y), (u, v) = start, end
    if v == y and u == x + _ACROSS:
        low = y - _UP
        middle = (x + u) / 2
        return Wire(kind, ((x + WIDTH / 2, low), (u - WIDTH / 2, low)), label, (middle, low), kept)
    if v < y:
        turn = v + _DOWN / 2
        points: tuple[Point, ...] = ((x, y - HEIGHT / 2), (x, turn), (u, turn), (u, v + HEIGHT / 2))
        # On one line there is no run from side to side that could carry the label.
        place = ((x + u) / 2 if u != x else x, turn)
        return Wire(kind, points if u != x else (points[0], points[3]), label, place, kept)
    below, left = y - HEIGHT / 2 - 2 * _GUTTER, u - WIDTH / 2 - 2 * _GUTTER
    around = ((x, y - HEIGHT / 2), (x, below), (left, below), (left, v - _UP), (u - WIDTH / 2, v - _UP))
    return Wire(kind, around, label, ((x + left) / 2, below), kept)
