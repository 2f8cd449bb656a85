"""Figures of a sweep: results over each field that it varies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from applications.nas.run_folder.page import Picture
from applications.nas.sweep.collect import collect
from applications.nas.sweep.figures import draw_axis
from applications.nas.sweep.folder import read_sweep
from applications.nas.sweep.line import Line
from applications.nas.sweep.plan import Axis, axes_without_seed
from applications.nas.sweep.study import StudySettings, stem_of, swept_points


def draw_part(
    name: str, axes: Sequence[Axis], lines: Sequence[Line], columns: Sequence[str], folder: Path, prefix: str = ""
) -> list[Picture]:
    """Draw the results of a sweep, or of a part of a study, over each field that it varies.

    Args:
        name: Of the part; empty for a sweep.
        axes: What is varied; the seed is none of them.
        lines: What came out.
        columns: What to draw, of what any line has.
        folder: Where the files go.
        prefix: What their names begin with.
    """
    drawn = []
    measured = [column for column in columns if any(column in line.results for line in lines)]
    about = f"{name}: results" if name else "Results"
    for axis in axes if measured else ():
        if len(axis.values) > 1:
            stem = f"{prefix}{stem_of(name)}{'-' if name else ''}by-{axis.field}"
            draw_axis(axis, axes, lines, measured, folder / stem)
            drawn.append(Picture(f"{stem}.svg", f"{about} over {axis.field}; bars are standard deviations."))
    return drawn


def draw_sweep(folder: Path, into: Path, prefix: str = "") -> list[Picture]:
    """Draw all figures of what a sweep or a study has finished.

    Args:
        folder: Of the sweep; nothing in it is changed.
        into: Where the figures go.
        prefix: What the names of their files begin with.

    Raises:
        ConfigError: If it is the folder of no sweep, or its settings do not fit; the message names it.
        DataError: If a file of a finished point is broken; the message names it.
    """
    settings = read_sweep(folder)
    plan = swept_points(settings)
    if isinstance(settings, StudySettings):
        parts = [
            (part.name, part.axes, [point for point in plan if point.part == part.name]) for part in settings.parts
        ]
    else:
        parts = [("", axes_without_seed(settings), list(plan))]
    drawn = []
    for name, axes, members in parts:
        lines = collect(axes, members, folder)
        columns = list(dict.fromkeys(column for line in lines for column in line.results))
        drawn += draw_part(name, axes, lines, columns, into, prefix)
    return drawn
