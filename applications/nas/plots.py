"""Plots of a search: how numbers went over its steps, and what the mixing probabilities became."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from torch import Tensor

from applications.nas._canvas import COLOURS, FAINT, INK, bare, new_figure, save
from mlo import DataError

_LINES = ("-", "--", ":")
_PANEL_WIDTH, _PANEL_HEIGHT = 3.4, 2.3


def draw_curves(
    rows: Sequence[Mapping[str, float]], series: Mapping[str, Sequence[str]], path_stem: str | Path
) -> tuple[Path, Path]:
    """Plot logged numbers against the step, in small panels.

    Args:
        rows: What was logged, each row with a "step"; a row may lack other columns, which are then passed over.
        series: For each panel, by title, the columns that it shows; a label is what follows the last slash.
        path_stem: Path of the files, without suffix.

    Returns:
        Paths of the SVG and of the PNG file.

    Raises:
        DataError: There is nothing to plot, a row has no "step", or no row has some column.
    """
    _check_rows(rows, series)
    across = 2 if len(series) == 4 else min(3, len(series))
    down = ceil(len(series) / across)
    figure = new_figure(_PANEL_WIDTH * across, _PANEL_HEIGHT * down)
    figure.set_layout_engine("constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for axes, (title, columns) in zip(grid.flat, series.items(), strict=False):
        _curves(axes, rows, title, columns)
    for axes in grid.flat[len(series) :]:
        axes.set_axis_off()
    return save(figure, path_stem)


def draw_alphas(
    alphas: Mapping[str, Tensor], primitives: Sequence[str], rows: Sequence[str], path_stem: str | Path
) -> tuple[Path, Path]:
    """Draw the mixing probabilities of each kind of cell as a heat map.

    Args:
        alphas: By title, probabilities (edges, operations), floating point.
        primitives: Names of the operations: the columns.
        rows: Names of the edges: the rows.
        path_stem: Path of the files, without suffix.

    Returns:
        Paths of the SVG and of the PNG file.

    Raises:
        DataError: There is nothing to draw, or a table does not have one row and one column for each name.
    """
    if not alphas:
        raise DataError("no probabilities to draw: give at least one table")
    for title, table in alphas.items():
        if tuple(table.shape) != (len(rows), len(primitives)):
            raise DataError(
                f"{title}: a table {tuple(table.shape)} for {len(rows)} edges and {len(primitives)} operations: give "
                "one row for each edge, one column for each operation"
            )
    highest = max(float(table.detach().max()) for table in alphas.values())
    width = (0.52 * len(primitives) + 0.9) * len(alphas) + 0.7
    figure = new_figure(width, 0.26 * len(rows) + 1.5)
    figure.set_layout_engine("constrained")
    grid = figure.subplots(1, len(alphas), squeeze=False)[0]
    for axes, (title, table) in zip(grid, alphas.items(), strict=True):
        image = _heat_map(axes, title, table, primitives, rows, highest)
    bar = figure.colorbar(image, ax=list(grid), fraction=0.03)
    bar.ax.tick_params(labelsize=8)
    bar.set_label("probability", fontsize=8, color=INK)
    return save(figure, path_stem)


def _check_rows(rows: Sequence[Mapping[str, float]], series: Mapping[str, Sequence[str]]) -> None:
    if not rows or not series:
        raise DataError(f"{len(rows)} rows and {len(series)} panels: give at least one of each to plot")
    for number, row in enumerate(rows):
        if "step" not in row:
            raise DataError(f"row {number} has no 'step', only {sorted(row)}: log the step with each row")
    known = {column for row in rows for column in row}
    for title, columns in series.items():
        missing = [column for column in columns if column not in known]
        if missing or not columns:
            raise DataError(f"panel {title!r}: no column {missing or 'given'}: choose from {sorted(known - {'step'})}")


def _curves(axes: Axes, rows: Sequence[Mapping[str, float]], title: str, columns: Sequence[str]) -> None:
    for index, column in enumerate(columns):
        points = [(row["step"], row[column]) for row in rows if column in row]
        axes.plot(
            [step for step, _ in points],
            [value for _, value in points],
            label=column.rpartition("/")[2],
            color=COLOURS[index % len(COLOURS)],
            linestyle=_LINES[index // len(COLOURS) % len(_LINES)],
            linewidth=1.5,
            # A single point makes no line: without a marker it could not be seen.
            marker="o" if len(points) == 1 else None,
            markersize=4,
        )
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold", color=INK)
    axes.set_xlabel("step", fontsize=8, color=INK)
    axes.margins(x=0.02)
    axes.grid(axis="y", color=FAINT, alpha=0.35, linewidth=0.6)
    bare(axes)
    if list(columns) != [title]:
        # Below the panel, where it hides no line.
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.28),
            ncols=min(3, len(columns)),
            fontsize=7,
            frameon=False,
            labelcolor=INK,
            handlelength=1.6,
            columnspacing=1.0,
        )


def _heat_map(
    axes: Axes, title: str, table: Tensor, primitives: Sequence[str], rows: Sequence[str], highest: float
) -> AxesImage:
    values = table.detach().double().cpu().tolist()
    image = axes.imshow(values, cmap="Blues", vmin=0.0, vmax=highest, aspect="auto")
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold", color=INK)
    axes.set_xticks(range(len(primitives)), primitives, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    bare(axes)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    for row, entries in enumerate(values):
        for column, value in enumerate(entries):
            shade = "white" if value > 0.6 * highest else INK
            weight = "bold" if value == max(entries) else "normal"
            text = axes.text(column, row, f"{value:.2f}".lstrip("0"), ha="center", va="center", fontsize=6.5)
            text.set(color=shade, fontweight=weight)
    return image
