"""Pictures of found cells, and the same as DOT text for Graphviz."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from applications.nas.draw.canvas import INK, new_figure, save
from applications.nas.draw.cell_layout import Layout, lay_out
from applications.nas.draw.cell_paint import INCHES_PER_UNIT, paint_cell

if TYPE_CHECKING:
    from applications.nas.space.genotype import Cell, Genotype

_TITLE_INCHES = 0.32


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
    inches = height * INCHES_PER_UNIT
    figure = new_figure(sum(widths) * INCHES_PER_UNIT, inches + _TITLE_INCHES * any(layouts))
    for index, (title, layout) in enumerate(layouts.items()):
        start = sum(widths[:index]) / sum(widths)
        axes = figure.add_axes((start, 0.0, widths[index] / sum(widths), inches / figure.get_figheight()))
        left, bottom, right, top = extents[index]
        middle = (bottom + top) / 2
        axes.set(xlim=(left, right), ylim=(middle - height / 2, middle + height / 2), aspect="equal")
        axes.set_axis_off()
        axes.set_title(title, color=INK, fontsize=11, fontweight="bold", pad=1)
        paint_cell(axes, layout)
    return figure
