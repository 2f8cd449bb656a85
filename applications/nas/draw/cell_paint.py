"""How a laid-out cell is painted."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch

from applications.nas.draw.canvas import INK
from applications.nas.draw.cell_layout import Layout
from applications.nas.draw.colors import line_color

INCHES_PER_UNIT = 0.62
PAPER = "#e4eaf0"
"""Color of the boxes of inputs and output."""

_INPUTS = ("0: $c_{k-2}$", "1: $c_{k-1}$")
_CENTERED: dict[str, Any] = {"ha": "center", "va": "center_baseline"}


def paint_cell(axes: Axes, layout: Layout, new: Collection[int] = ()) -> None:
    """Paint a cell.

    Args:
        axes: Where to; its units are those of the layout.
        layout: What to paint.
        new: Places of those arrows, in their order, whose names are painted light on dark.
    """
    outlines = {vertex: _outline(vertex, layout) for vertex in layout.positions}
    for place, arrow in enumerate(layout.arrows):
        color = line_color(arrow.operation)
        line = FancyArrowPatch(
            layout.positions[arrow.source],
            layout.positions[arrow.target],
            patchA=outlines[arrow.source],
            patchB=outlines[arrow.target],
            connectionstyle=f"arc3,rad={arrow.bend}",
            arrowstyle="-|>,head_length=5,head_width=2.4",
            shrinkA=0,
            shrinkB=2,
            linewidth=1.5 if arrow.operation else 0.9,
            linestyle="-" if arrow.operation else (0, (4, 3)),
            color=color,
            zorder=2 if arrow.operation else 1,
        )
        axes.add_patch(line)
        if arrow.operation:
            ink, paper = ("white", color) if place in new else (color, "white")
            box = {"boxstyle": "round,pad=0.22", "facecolor": paper, "edgecolor": color, "linewidth": 0.7}
            axes.text(*arrow.label, arrow.operation, **_CENTERED, fontsize=8, color=ink, bbox=box, zorder=3)
    for vertex, outline in outlines.items():
        axes.add_patch(outline)
        axes.text(*layout.positions[vertex], _name(vertex, layout), **_CENTERED, fontsize=10, color=INK, zorder=5)


def _outline(vertex: int, layout: Layout) -> Patch:
    x, y = layout.positions[vertex]
    if 2 <= vertex < layout.output:
        return Circle((x, y), 0.3, facecolor="white", edgecolor=INK, linewidth=1.2, zorder=4)
    width = 1.15 if vertex == layout.output else 0.9
    style = "round,pad=0,rounding_size=0.15"
    corner = (x - width / 2, y - 0.29)
    return FancyBboxPatch(corner, width, 0.58, style, facecolor=PAPER, edgecolor=INK, linewidth=1.2, zorder=4)


def _name(vertex: int, layout: Layout) -> str:
    if vertex < len(_INPUTS):
        return _INPUTS[vertex]
    return "concat" if vertex == layout.output else str(vertex)
