"""Plots of how logged numbers went over the steps of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from applications.nas._canvas import COLORS, FAINT, INK, bare, new_figure, plain, save
from applications.nas.draw.panels import epoch_rows, group_columns
from mlo import DataError

if TYPE_CHECKING:
    from applications.nas.run_folder.history import Snapshot

_LINES = ("-", "--", ":")
_PANEL_WIDTH, _PANEL_HEIGHT = 3.4, 2.3
_BINS, _FEW = 300, 30
_DECADES = 1.5


def draw_log(
    rows: Sequence[Mapping[str, float]], snapshots: Sequence[Snapshot], path_stem: str | Path
) -> tuple[Path, Path]:
    """Plot everything that a run has logged, and the numbers of skip connections.

    Args:
        rows: What was logged, each row with a "step".
        snapshots: The history of a search; empty for other runs.
        path_stem: Path of the files, without suffix.

    Returns:
        Paths of the SVG and of the PNG file.

    Raises:
        DataError: There is nothing to plot, or a row has no "step".
    """
    known = dict.fromkeys(column for row in rows for column in row)
    if not any(column.startswith("skips/") for column in known):
        skips = epoch_rows(rows, snapshots)
        rows = [*rows, *skips]
        known |= dict.fromkeys(column for row in skips for column in row)
    return draw_curves(rows, group_columns(known), path_stem)


def draw_curves(
    rows: Sequence[Mapping[str, float]], series: Mapping[str, Sequence[str]], path_stem: str | Path
) -> tuple[Path, Path]:
    """Plot logged numbers against the step, in small panels.

    Of many steps, means of as many neighbors as make 300 points are plotted, over a band in which 80 % of them lie.

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
        _panel(axes, rows, title, columns)
    for axes in grid.flat[len(series) :]:
        axes.set_axis_off()
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


def _panel(axes: Axes, rows: Sequence[Mapping[str, float]], title: str, columns: Sequence[str]) -> None:
    drawn = [_line(axes, rows, column, index) for index, column in enumerate(columns)]
    _scale(axes, np.concatenate(drawn))
    axes.set_title(plain(title), loc="left", fontsize=9.5, fontweight="bold", color=INK)
    axes.set_xlabel("step", fontsize=8, color=INK)
    axes.margins(x=0.02)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.grid(axis="y", color=FAINT, alpha=0.35, linewidth=0.6)
    bare(axes)
    if len(columns) > 1 or "/" in columns[0]:
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


def _line(axes: Axes, rows: Sequence[Mapping[str, float]], column: str, index: int) -> np.ndarray:
    """Draw one column, and return what was drawn of it."""
    points = np.array([(row["step"], row[column]) for row in rows if column in row], dtype=float)
    color = COLORS[index % len(COLORS)]
    if len(points) > 2 * _BINS:
        parts = np.array_split(points, _BINS)
        low, high = np.array([np.quantile(part[:, 1], (0.1, 0.9)) for part in parts]).T
        points = np.array([part.mean(axis=0) for part in parts])
        axes.fill_between(points[:, 0], low, high, color=color, alpha=0.15, linewidth=0)
    axes.plot(
        *points.T,
        label=plain(column.rpartition("/")[2]),
        color=color,
        linestyle=_LINES[index // len(COLORS) % len(_LINES)],
        linewidth=1.5,
        # A single point makes no line: without a marker it could not be seen.
        marker="o" if len(points) <= _FEW else None,
        markersize=4 if len(points) == 1 else 2.5,
    )
    return points[:, 1]


def _scale(axes: Axes, values: np.ndarray) -> None:
    """Take whole numbers for counts, and a logarithmic axis for numbers that span decades."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return
    if (finite == finite.round()).all():
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.set_ylim(bottom=min(0.0, float(finite.min())) - 0.2)
    elif finite.min() > 0 and finite.max() / finite.min() > 10**_DECADES:
        axes.set_yscale("log")
        few = finite.max() / finite.min() < 1e3
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())  # the usual ones lie upon each other in so small a panel
