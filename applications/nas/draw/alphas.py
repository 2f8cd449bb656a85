"""What the mixing weights became: a heat map of each cell type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from torch import Tensor

from applications.nas.draw.canvas import FAINT, INK, bare, new_figure, save
from applications.nas.space.mixture import Mixture, Names, edge_names, named_weights, operations_of
from mlo import DataError

_GONE = "·"


def draw_alphas(
    alphas: Mapping[str, Tensor],
    primitives: Sequence[str],
    rows: Sequence[str],
    path_stem: str | Path,
    *,
    choices: Mapping[str, Names] | None = None,
) -> tuple[Path, Path]:
    """Draw the mixing probabilities of each kind of cell as a heat map.

    Args:
        alphas: By title, probabilities (edges, operations), floating point.
        primitives: Names of the operations: the columns of the picture.
        rows: Names of the edges: the rows.
        path_stem: Path of the files, without suffix.
        choices: By title, for each edge the names of its own operations, in the order of the table's columns, where a
            method has taken operations away; left out: `primitives` everywhere.

    Returns:
        Paths of the SVG and of the PNG file.

    Raises:
        DataError: There is nothing to draw, or a table does not have one row and one column for each name.
    """
    named = named_weights(alphas, choices if choices is not None else primitives)
    for title, edges in named.items():
        if len(edges) != len(rows):
            raise DataError(
                f"{title}: a table of {len(edges)} edges, but {len(rows)} of their names: give one for each"
            )
    return _draw(named, primitives, rows, path_stem)


def draw_mixture(mixture: Mixture, path_stem: str | Path) -> tuple[Path, Path]:
    """Draw mixing weights that have names of their own, such as those of a history, as `draw_alphas` does.

    Args:
        mixture: The weights, of equally many edges in each cell type.
        path_stem: Path of the files, without suffix.

    Returns:
        Paths of the SVG and of the PNG file.

    Raises:
        DataError: There is nothing to draw.
    """
    counts = {len(edges) for edges in mixture.values()}
    if len(counts) != 1:
        raise DataError(f"mixing weights of {sorted(counts) or 'no'} edges: give the same edges in each cell type")
    return _draw(mixture, operations_of(mixture), edge_names(counts.pop()), path_stem)


def _draw(mixture: Mixture, operations: Sequence[str], rows: Sequence[str], path_stem: str | Path) -> tuple[Path, Path]:
    unknown = [name for name in operations_of(mixture) if name not in operations]
    if unknown:
        raise DataError(f"operation {unknown[0]!r} has no column: name it among the primitives")
    highest = max(weight for edges in mixture.values() for edge in edges for weight in edge.values()) or 1.0
    figure = new_figure((0.52 * len(operations) + 0.9) * len(mixture) + 0.7, 0.26 * len(rows) + 1.5)
    figure.set_layout_engine("constrained")
    grid = figure.subplots(1, len(mixture), squeeze=False)[0]
    for axes, (title, edges) in zip(grid, mixture.items(), strict=True):
        image = _heat_map(axes, title, edges, operations, rows, highest)
    bar = figure.colorbar(image, ax=list(grid), fraction=0.03)
    bar.ax.tick_params(labelsize=8)
    bar.set_label("mixing weight", fontsize=8, color=INK)
    return save(figure, path_stem)


def _heat_map(
    axes: Axes,
    title: str,
    edges: Sequence[Mapping[str, float]],
    operations: Sequence[str],
    rows: Sequence[str],
    highest: float,
) -> AxesImage:
    values = [[edge.get(name, float("nan")) for name in operations] for edge in edges]  # not a number: left blank
    image = axes.imshow(values, cmap="Blues", vmin=0.0, vmax=highest, aspect="auto")
    axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold", color=INK)
    axes.set_xticks(range(len(operations)), operations, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    bare(axes)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    for row, edge in enumerate(edges):
        for column, name in enumerate(operations):
            value = edge.get(name)
            shade = FAINT if value is None else "white" if value > 0.6 * highest else INK
            weight = "bold" if value == max(edge.values()) else "normal"
            shown = _GONE if value is None else f"{value:.2f}".lstrip("0")
            text = axes.text(column, row, shown, ha="center", va="center", fontsize=6.5)
            text.set(color=shade, fontweight=weight)
    return image
