"""Cells of one search as frames: the nodes stay where they are, so that the eye can follow the edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from math import pi, sin
from typing import TYPE_CHECKING

from applications.nas.draw.cell_layout import Layout, lay_out
from applications.nas.draw.label_places import Point
from applications.nas.space.cell import CELL_TYPES

if TYPE_CHECKING:
    from applications.nas.run_folder.history import Snapshot
    from applications.nas.space.genotype import Cell

_GAP, _LAST_GAP, _FIRST_GAP = 2.3, 2.3, 2.6
_ROW, _BULGE = 1.3, 0.7

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Span:
    """Successive snapshots with one and the same cell.

    Attributes:
        first: Index of the first of them.
        last: Index of the last.
    """

    first: int
    last: int


def spans(snapshots: Sequence[Snapshot]) -> list[Span]:
    """Return the stretches of a history in which the cell did not change; a new stage begins a new one."""
    found: list[Span] = []
    for _, group in groupby(enumerate(snapshots), key=lambda pair: (pair[1].stage, cells_of(pair[1]))):
        indices = [index for index, _ in group]
        found.append(Span(indices[0], indices[-1]))
    return found


def choose(found: Sequence[Span], most: int) -> list[Span]:
    """Choose at most so many spans: the first, the last, and between them those that lie most evenly in time."""
    if len(found) <= most:
        return list(found)
    end = found[-1].first
    wanted = [end * place / (most - 1) for place in range(1, most - 1)]
    inner = list(found[1:-1])
    chosen = []
    for time in wanted:
        nearest = min(inner, key=lambda span: abs(span.first - time))
        inner.remove(nearest)
        chosen.append(nearest)
    return [found[0], *sorted(chosen, key=lambda span: span.first), found[-1]]


def name_span(snapshots: Sequence[Snapshot], span: Span) -> str:
    """Say when a span is, such as "epochs 3 to 7", and in which stage if there are several."""
    stages = len({snapshot.stage for snapshot in snapshots}) > 1
    first, last = snapshots[span.first].epoch, snapshots[span.last].epoch
    when = f"epoch {first}" if first == last else f"epochs {first} to {last}"
    return f"stage {snapshots[span.first].stage}, {when}" if stages else when


def steady_positions(nodes: int) -> dict[int, Point]:
    """Place the vertices of any cell with so many nodes.

    The nodes alternate between an upper and a lower arc, so that no straight line between two passes through a third.
    """
    positions = {0: (0.0, 0.75), 1: (0.0, -0.75)}
    for index in range(nodes):
        height = _ROW + _BULGE * sin(pi * (index + 0.5) / nodes)
        positions[index + 2] = (_FIRST_GAP + _GAP * index, height if index % 2 == 0 else -height)
    positions[nodes + 2] = (_FIRST_GAP + _GAP * (nodes - 1) + _LAST_GAP, 0.0)
    return positions


@lru_cache(maxsize=256)
def steady_layout(cell: Cell) -> Layout:
    """Lay a cell out with its vertices at their steady places."""
    return lay_out(cell, steady_positions(cell.nodes))


def cells_of(snapshot: Snapshot) -> dict[str, Cell]:
    """Return the cells by type, the two edges of a node in one order, which means nothing, in all snapshots."""
    return {kind: _ordered(getattr(snapshot.genotype, kind)) for kind in CELL_TYPES}


def _ordered(cell: Cell) -> Cell:
    places = range(len(cell.edges))
    order = sorted(places, key=lambda place: (place // 2, cell.edges[place].predecessor, cell.edges[place].operation))
    return replace(cell, edges=tuple(cell.edges[place] for place in order))


def new_edges(cell: Cell, before: Cell | None) -> set[int]:
    """Return the places of those edges that the cell before did not have at that node; none if there was no cell."""
    if before is None:
        return set()
    found = set()
    for node in range(cell.nodes):
        old = list(before.edges[2 * node : 2 * node + 2])
        for place in (2 * node, 2 * node + 1):
            if cell.edges[place] in old:
                old.remove(cell.edges[place])  # of two equal edges, one may be new
            else:
                found.add(place)
    return found


def common_box(layouts: Sequence[Layout]) -> Box:
    """Return left, bottom, right and top of what holds all layouts."""
    lefts, bottoms, rights, tops = zip(*(layout.extent for layout in layouts), strict=True)
    return min(lefts), min(bottoms), max(rights), max(tops)
