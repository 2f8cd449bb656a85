"""A problem graph as a picture: the architecture on top, the stages below it in the order in which they are solved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from applications.nas.draw.canvas import INK, new_figure, save
from applications.nas.draw.cell_paint import PAPER
from applications.nas.draw.label_places import Point
from applications.nas.draw.sketch import GraphSketch, Stage
from applications.nas.draw.wires import ANSWER, HEIGHT, NEAR, VALUE, WIDTH, Wire, wires_of

_LETTERS = 22
_MARGIN, _LEGEND = 0.25, 0.22
_LEGENDS = {ANSWER: "answer of a solve", VALUE: "value, a constant", NEAR: "held near, by a proximal term"}
_REMEMBERED = "the same, at the answer of the step before"
_DASHES: Any = (0, (5, 2.5))
_COLORS = {ANSWER: "#0072b2", VALUE: "#66707a", NEAR: "#c65100"}
_STYLES: dict[str, Any] = {ANSWER: "-", VALUE: (0, (1.2, 2.0)), NEAR: "-"}


def draw_chain(sketch: GraphSketch, path_stem: str | Path) -> tuple[Path, Path]:
    """Draw a problem graph.

    Arrows point the way that values flow. Stages called "learner@round" lie in one row for each round, others in a row.

    Args:
        sketch: What to draw.
        path_stem: Path of the files, without suffix.

    Returns:
        Paths of the SVG and of the PNG file.
    """
    centers, bar, wires = wires_of(sketch)
    xs = [bar[0], bar[1], *(x for wire in wires for x, _ in wire.points)]
    ys = [*(y for wire in wires for _, y in wire.points), *(y - HEIGHT / 2 for _, y in centers.values())]
    left, right = min(xs) - _MARGIN, max(xs) + _MARGIN
    rows = 1 if right - left > 9 else 4 if right - left < 4.5 else 2
    bottom, top = min(ys) - _MARGIN - _LEGEND * rows, bar[2] + HEIGHT / 2 + _MARGIN
    figure = new_figure(right - left, top - bottom)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    axes.set_axis_off()
    for wire in wires:
        _paint_wire(axes, wire)
    _box(axes, sketch.top, ((bar[0] + bar[1]) / 2, bar[2]), bar[1] - bar[0])
    for stage in sketch.stages:
        _box(axes, stage, centers[stage.name], WIDTH)
    _legend(axes, wires, rows)
    return save(figure, path_stem)


def _paint_wire(axes: Axes, wire: Wire) -> None:
    color, style = _COLORS[wire.kind], _DASHES if wire.remembered else _STYLES[wire.kind]
    *way, end = wire.points
    axes.plot(*zip(*wire.points, strict=True), color=color, linestyle=style, linewidth=1.6, zorder=1)
    head = FancyArrowPatch(
        way[-1], end, arrowstyle="-|>,head_length=6,head_width=3", linewidth=0, color=color, shrinkA=0, shrinkB=0
    )
    axes.add_patch(head)
    if wire.label and wire.label_at is not None:
        paper = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
        axes.text(
            *wire.label_at, wire.label, ha="center", va="center", fontsize=8, color=color, bbox=paper, parse_math=False
        )


def _box(axes: Axes, stage: Stage, center: Point, width: float) -> None:
    corner = (center[0] - width / 2, center[1] - HEIGHT / 2)
    style = "round,pad=0,rounding_size=0.12"
    outline = FancyBboxPatch(corner, width, HEIGHT, style, facecolor=PAPER, edgecolor=INK, linewidth=1.2, zorder=3)
    axes.add_patch(outline)
    lines = [(stage.name, 10, "bold"), (stage.note, 8, "normal")]
    shown = [line for line in lines if line[0]]
    for number, (text, size, weight) in enumerate(shown):
        height = center[1] + 0.16 * (len(shown) - 1) - 0.32 * number
        letters = _LETTERS if weight == "bold" else _LETTERS + 6
        # The end of a name tells its round.
        short = text if len(text) <= letters or width > WIDTH else f"{text[: letters - 5]}…{text[-4:]}"
        axes.text(
            center[0],
            height,
            short,
            ha="center",
            va="center",
            fontsize=size,
            fontweight=weight,
            color=INK,
            zorder=4,
            parse_math=False,
        )


def _legend(axes: Axes, wires: Sequence[Wire], rows: int) -> None:
    kinds = [kind for kind in _LEGENDS if any(wire.kind == kind for wire in wires)]
    styles = {_LEGENDS[kind]: (_COLORS[kind], _STYLES[kind]) for kind in kinds}
    if any(wire.remembered for wire in wires):
        styles[_REMEMBERED] = (_COLORS[NEAR], _DASHES)
    keys = [
        Line2D([], [], color=color, linestyle=style, linewidth=1.6, label=text)
        for text, (color, style) in styles.items()
    ]
    columns = -(-len(keys) // rows)
    axes.legend(
        handles=keys, loc="lower center", ncols=columns, fontsize=8, frameon=False, labelcolor=INK, borderaxespad=0.1
    )
