"""Pictures of found cells, and the same as DOT text for Graphviz."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch

from applications.nas._canvas import FAINT, INK, new_figure, save
from applications.nas._cell_layout import Layout, lay_out
from applications.nas.plots import draw_alphas, draw_curves

if TYPE_CHECKING:
    from applications.nas.space.genotype import Cell, Genotype

__all__ = ["draw_alphas", "draw_cell", "draw_curves", "draw_genotype", "to_dot"]

_INCHES_PER_UNIT = 0.62
_TITLE_INCHES = 0.32
_INPUTS = ("0: $c_{k-2}$", "1: $c_{k-1}$")
_CENTRED: dict[str, Any] = {"ha": "center", "va": "center_baseline"}
# By the first letters of the operation; dark enough to be read as text on white.
_COLOURS = {
    "sep_conv": "#0072b2",
    "dil_conv": "#c65100",
    "max_pool": "#00805d",
    "avg_pool": "#8a6d00",
    "skip": "#b0478a",
}


def draw_cell(cell: Cell, path_stem: str | Path, title: str = "") -> tuple[Path, Path]:
    """Draw one cell: inputs on the left, each edge with its operation, the concatenation on the right.

    Args:
        cell: What to draw.
        path_stem: Path of the files, without suffix.
        title: Written above.

    Returns:
        Paths of the SVG and of the PNG file.
    """
    return save(_figure({title: lay_out(cell)}), path_stem)


def draw_genotype(genotype: Genotype, path_stem: str | Path) -> tuple[Path, Path]:
    """Draw both cells of an architecture side by side, on one scale.

    Args:
        genotype: What to draw.
        path_stem: Path of the files, without suffix.

    Returns:
        Paths of the SVG and of the PNG file.
    """
    layouts = {"normal cell": lay_out(genotype.normal), "reduction cell": lay_out(genotype.reduction)}
    return save(_figure(layouts), path_stem)


def to_dot(cell: Cell) -> str:
    """Write a cell in Graphviz's language.

    Args:
        cell: What to write.

    Returns:
        The text of a `digraph`, nodes numbered as predecessors are.
    """
    output = 2 + len(cell.edges) // 2
    lines = ["digraph cell {", "  rankdir=LR;", "  node [shape=box, style=rounded];"]
    lines += ['  0 [label="0: c_{k-2}"];', '  1 [label="1: c_{k-1}"];']
    lines += [f'  {node} [label="{node}", shape=circle];' for node in range(2, output)]
    lines += [f'  {output} [label="concat"];']
    lines += [
        f'  {edge.predecessor} -> {2 + index // 2} [label="{edge.operation}"];' for index, edge in enumerate(cell.edges)
    ]
    lines += [f"  {node} -> {output} [style=dashed];" for node in cell.concat]
    return "\n".join([*lines, "}", ""])


def _figure(layouts: Mapping[str, Layout]) -> Figure:
    """Draw layouts from left to right, all on one scale, each under its title."""
    extents = [layout.extent for layout in layouts.values()]
    widths = [right - left for left, _, right, _ in extents]
    height = max(top - bottom for _, bottom, _, top in extents)
    inches = height * _INCHES_PER_UNIT
    figure = new_figure(sum(widths) * _INCHES_PER_UNIT, inches + _TITLE_INCHES * any(layouts))
    for index, (title, layout) in enumerate(layouts.items()):
        start = sum(widths[:index]) / sum(widths)
        axes = figure.add_axes((start, 0.0, widths[index] / sum(widths), inches / figure.get_figheight()))
        left, bottom, right, top = extents[index]
        middle = (bottom + top) / 2
        axes.set(xlim=(left, right), ylim=(middle - height / 2, middle + height / 2), aspect="equal")
        axes.set_axis_off()
        axes.set_title(title, color=INK, fontsize=11, fontweight="bold", pad=1)
        _paint(axes, layout)
    return figure


def _paint(axes: Axes, layout: Layout) -> None:
    outlines = {vertex: _outline(vertex, layout) for vertex in layout.positions}
    for arrow in layout.arrows:
        colour = _colour(arrow.operation)
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
            color=colour,
            zorder=2 if arrow.operation else 1,
        )
        axes.add_patch(line)
        if arrow.operation:
            box = {"boxstyle": "round,pad=0.22", "facecolor": "white", "edgecolor": colour, "linewidth": 0.7}
            axes.text(*arrow.label, arrow.operation, **_CENTRED, fontsize=8, color=colour, bbox=box, zorder=3)
    for vertex, outline in outlines.items():
        axes.add_patch(outline)
        axes.text(*layout.positions[vertex], _name(vertex, layout), **_CENTRED, fontsize=10, color=INK, zorder=5)


def _outline(vertex: int, layout: Layout) -> Patch:
    x, y = layout.positions[vertex]
    if 2 <= vertex < layout.output:
        return Circle((x, y), 0.3, facecolor="white", edgecolor=INK, linewidth=1.2, zorder=4)
    width = 1.15 if vertex == layout.output else 0.9
    style = "round,pad=0,rounding_size=0.15"
    corner = (x - width / 2, y - 0.29)
    return FancyBboxPatch(corner, width, 0.58, style, facecolor="#e4eaf0", edgecolor=INK, linewidth=1.2, zorder=4)


def _name(vertex: int, layout: Layout) -> str:
    if vertex < len(_INPUTS):
        return _INPUTS[vertex]
    return "concat" if vertex == layout.output else str(vertex)


def _colour(operation: str) -> str:
    if not operation:
        return FAINT
    return next((colour for prefix, colour in _COLOURS.items() if operation.startswith(prefix)), INK)
