"""How the mixing weights went over a search: each operation's share, as areas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from applications.nas.draw.canvas import INK, bare, new_figure, save
from applications.nas.draw.colors import area_color
from applications.nas.space.mixture import in_order, mean_weights, operations_of
from mlo import DataError

if TYPE_CHECKING:
    from applications.nas.run_folder.history import Snapshot

_PANEL_WIDTH, _HEIGHT, _LEGEND_WIDTH = 4.0, 2.9, 1.5


def draw_weights(snapshots: Sequence[Snapshot], path_stem: str | Path) -> tuple[Path, Path]:
    """Draw the mean mixing weight of each operation after each epoch, one panel for each cell type.

    The mean is over the edges of the cell; an operation that an edge has lost counts as 0 there. Of a method with
    several stages the epochs are drawn one after the other, with a line where a stage begins.

    Args:
        snapshots: The history, with weights.
        path_stem: Path of the files, without suffix.

    Returns:
        Paths of the SVG and of the PNG file.

    Raises:
        DataError: A snapshot has no weights, or not of the same cell types as the others.
    """
    kinds = list(snapshots[0].weights) if snapshots else []
    if not kinds or any(list(snapshot.weights) != kinds for snapshot in snapshots):
        raise DataError("no mixing weights to draw: the history must hold those of every epoch, of the same cell types")
    operations = in_order(name for snapshot in snapshots for name in operations_of(snapshot.weights))
    figure = new_figure(_PANEL_WIDTH * len(kinds) + _LEGEND_WIDTH, _HEIGHT)
    figure.set_layout_engine("constrained")
    grid = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
    for axes, kind in zip(grid, kinds, strict=True):
        _areas(axes, kind, snapshots, operations)
    grid[0].set_ylabel("mean weight on an edge", fontsize=8, color=INK)
    # In the order in which the areas lie on each other.
    keys = [Patch(facecolor=area_color(name, place), label=name) for place, name in enumerate(operations)][::-1]
    figure.legend(handles=keys, loc="outside right center", fontsize=8, frameon=False, labelcolor=INK)
    return save(figure, path_stem)


def _areas(axes: Axes, kind: str, snapshots: Sequence[Snapshot], operations: Sequence[str]) -> None:
    places = range(1, len(snapshots) + 1)
    heights = [mean_weights(snapshot.weights[kind], operations) for snapshot in snapshots]
    floor = [0.0] * len(snapshots)
    for number, name in enumerate(operations):
        shares = [height[number] for height in heights]
        # Steps, for an epoch has one value; and one epoch alone is seen, too. Their edges hide the seams.
        color = area_color(name, number)
        axes.bar(places, shares, width=1.0, bottom=floor, color=color, edgecolor=color, linewidth=0.3)
        floor = [below + share for below, share in zip(floor, shares, strict=True)]
    starts = [place for place in places[1:] if snapshots[place - 1].stage != snapshots[place - 2].stage]
    for start in starts:
        axes.axvline(start - 0.5, color=INK, linewidth=1.2)
    for start in [1, *starts] if starts else []:
        axes.text(start - 0.3, max(floor), f"stage {snapshots[start - 1].stage}", fontsize=7, color=INK, va="bottom")
    axes.set_title(f"{kind} cell", loc="left", fontsize=9.5, fontweight="bold", color=INK, pad=10 if starts else 5)
    axes.set_xlabel("epoch", fontsize=8, color=INK)
    axes.set(xlim=(0.5, len(snapshots) + 0.5), ylim=(0.0, max(floor) or 1.0))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    bare(axes)
