"""How the cell evolved in a search: the cell after some of its epochs, one row each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from applications.nas.draw.canvas import INK, new_figure, save
from applications.nas.draw.cell_paint import INCHES_PER_UNIT, paint_cell
from applications.nas.draw.frames import (
    Box,
    cells_of,
    choose,
    common_box,
    name_span,
    new_edges,
    spans,
    steady_layout,
)
from applications.nas.space.cell import CELL_TYPES
from mlo import DataError

if TYPE_CHECKING:
    from applications.nas.run_folder.history import Snapshot

HEAD_INCHES, TITLE_INCHES = 0.34, 0.3
_NOTE = "filled: new since the picture before"


def draw_evolution(snapshots: Sequence[Snapshot], path_stem: str | Path, most: int = 4) -> tuple[Path, Path]:
    """Draw the cells of a search after some of its epochs, one row each, every node at one place in all rows.

    Args:
        snapshots: The history.
        path_stem: Path of the files, without suffix.
        most: Rows at most; of more different cells the first, the last, and some between are drawn.

    Returns:
        Paths of the SVG and of the PNG file.

    Raises:
        DataError: There is no snapshot.
    """
    check_snapshots(snapshots)
    chosen = choose(spans(snapshots), most)
    shown = [snapshots[span.last] for span in chosen]
    titles = [name_span(snapshots, span) for span in chosen]
    boxes = boxes_of(shown)
    width = sum(box[2] - box[0] for box in boxes.values()) * INCHES_PER_UNIT
    row = max(box[3] - box[1] for box in boxes.values()) * INCHES_PER_UNIT + HEAD_INCHES + TITLE_INCHES
    figure = new_figure(width, row * len(shown))
    for number, snapshot in enumerate(shown):
        top = 1 - number / len(shown)
        note = f"{titles[number]}   ({_NOTE})" if number else titles[number]
        figure.text(0.012, top - 0.07 / figure.get_figheight(), note, va="top", fontsize=12, color=INK)
        left = 0.0
        for kind, box in boxes.items():
            share = (box[2] - box[0]) * INCHES_PER_UNIT / width
            height = (box[3] - box[1]) * INCHES_PER_UNIT / figure.get_figheight()
            bottom = top - (HEAD_INCHES + TITLE_INCHES) / figure.get_figheight() - height
            before = shown[number - 1] if number else None
            paint_kind(figure, (left, bottom, share, height), kind, box, snapshot, before)
            left += share
    return save(figure, path_stem)


def paint_kind(
    figure: Figure,
    place: tuple[float, float, float, float],
    kind: str,
    box: Box,
    snapshot: Snapshot,
    before: Snapshot | None,
) -> None:
    """Paint one cell into a part of a figure, under its name and its number of skip connections."""
    axes = figure.add_axes(place)
    axes.set(xlim=(box[0], box[2]), ylim=(box[1], box[3]), aspect="equal")
    axes.set_axis_off()
    skips = snapshot.skips[kind]
    count = f"{skips} skip connection{'' if skips == 1 else 's'}"
    axes.set_title(f"{kind} cell, {count}", color=INK, fontsize=10.5, fontweight="bold", pad=3)
    cell = cells_of(snapshot)[kind]
    old = cells_of(before)[kind] if before is not None else None
    paint_cell(axes, steady_layout(cell), new_edges(cell, old))


def boxes_of(snapshots: Sequence[Snapshot]) -> dict[str, Box]:
    """Return, for each cell type, what holds that cell in all snapshots."""
    return {kind: common_box([steady_layout(cells_of(one)[kind]) for one in snapshots]) for kind in CELL_TYPES}


def check_snapshots(snapshots: Sequence[Snapshot]) -> None:
    """Refuse to draw a history without an entry."""
    if not snapshots:
        raise DataError("no epoch to draw: the search has kept no cell yet; let it finish an epoch")
