"""Results of a sweep over the values of one field, with error bars."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

from matplotlib.axes import Axes

from applications.nas.draw.canvas import COLORS, FAINT, INK, bare, new_figure, save
from applications.nas.search.words import strength_label
from applications.nas.sweep.line import Line
from applications.nas.sweep.plan import Axis

_WIDTH, _HEIGHT = 3.6, 2.9
WEIGHT = "formulation.weight"
_DECADES = 100.0
_DODGE = 0.12
_FEW = 5
"""So many labels of three lines stand side by side."""
_MARKERS = "osD^v"


def draw_axis(
    axis: Axis, axes: Sequence[Axis], lines: Sequence[Line], columns: Sequence[str], path_stem: Path
) -> tuple[Path, Path]:
    """Plot results over the values of one field: a panel for each column, with a scale of its own.

    The field is drawn on a logarithmic axis where its values span two decades or more. If other fields vary too, each
    combination of their values is a line.

    Args:
        axis: The field.
        axes: All varied fields but the seed.
        lines: The results.
        columns: Names of the results to draw, such as "digits: test error %".
        path_stem: Path of the files, without suffix.

    Returns:
        Paths of the SVG and of the PNG file.
    """
    others = [other.field for other in axes if other.field != axis.field and len(other.values) > 1]
    combinations: dict[str, list[Line]] = {}
    for line in lines:
        label = ", ".join(f"{field.rpartition('.')[2]} {line.words[field]}" for field in others)
        combinations.setdefault(label, []).append(line)
    across = min(3, len(columns))
    down = ceil(len(columns) / across)
    extra = 0.22 * ceil(len(combinations) / 3) if others else 0.0
    figure = new_figure(_WIDTH * across, _HEIGHT * down + extra)
    figure.set_layout_engine("constrained", w_pad=0.12)
    grid = figure.subplots(down, across, squeeze=False)
    for index, (panel, column) in enumerate(zip(grid.flat, columns, strict=False)):
        for number, (label, members) in enumerate(combinations.items()):
            shift = (number - (len(combinations) - 1) / 2) * min(_DODGE, 0.8 / len(combinations))
            _series(panel, axis, members, column, label, number if others else index, shift=shift)
        _finish(panel, axis, lines, column)
    for panel in grid.flat[len(columns) :]:
        panel.set_axis_off()
    if others:
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False, labelcolor=INK)
    return save(figure, path_stem)


def _numeric(lines: Sequence[Line], axis: Axis) -> bool:
    return all(isinstance(line.point.value(axis.field), float) for line in lines)


def _series(
    panel: Axes, axis: Axis, lines: Sequence[Line], column: str, label: str, number: int, *, shift: float
) -> None:
    """Draw one line; values that are no numbers are not connected, and stand side by side."""
    numeric = _numeric(lines, axis)
    points = []
    for line in lines:
        if column in line.results:
            value = line.point.value(axis.field)
            place = float(value) if numeric else axis.values.index(line.words[axis.field]) + shift
            points.append((place, line.results[column]))
    points.sort(key=lambda point: point[0])
    panel.errorbar(
        [place for place, _ in points],
        [found.mean for _, found in points],
        yerr=[found.deviation or 0.0 for _, found in points],
        label=label or None,
        color=COLORS[number % len(COLORS)],
        marker=_MARKERS[number // len(COLORS) % len(_MARKERS)],
        markersize=4.5,
        linewidth=1.4,
        linestyle="-" if numeric else "none",
        capsize=3,
        elinewidth=1.1,
    )


def _finish(panel: Axes, axis: Axis, lines: Sequence[Line], column: str) -> None:
    title, _, quantity = column.rpartition(": ")
    panel.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
    panel.set_ylabel(quantity, fontsize=9, color=INK)
    panel.set_xlabel(f"lambda ({WEIGHT})" if axis.field == WEIGHT else axis.field, fontsize=9, color=INK)
    panel.grid(axis="y", color=FAINT, alpha=0.35, linewidth=0.6)
    bare(panel)
    if not _numeric(lines, axis):
        panel.set_xticks(range(len(axis.values)), axis.values)
        panel.set_xlim(-0.5, len(axis.values) - 0.5)
        return
    values = sorted({float(line.point.value(axis.field)) for line in lines})
    positive = [value for value in values if value > 0]
    if positive and values[0] >= 0 and positive[-1] / positive[0] >= _DECADES:
        if values[0] == 0:
            panel.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
        else:
            panel.set_xscale("log")
    panel.set_xticks(values, [_tick(value, lines, axis) for value in values])
    panel.minorticks_off()


def _tick(value: float, lines: Sequence[Line], axis: Axis) -> str:
    """Return the label of a value; a lambda says nothing without c and rho, which stand below it where there is room.

    Of many values the page of the sweep lists them.
    """
    if axis.field != WEIGHT or len(axis.values) > _FEW:
        return f"{value:g}"
    found = [line.point.settings for line in lines if line.point.value(axis.field) == value]
    labels = {strength_label(one.formulation, one.weights.lr) for one in found}
    return "\n".join([f"{value:g}", *labels.pop().split(", ")]) if len(labels) == 1 else f"{value:g}"
