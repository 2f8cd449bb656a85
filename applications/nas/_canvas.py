"""What all figures share: colors, a figure without global state, and files that come out the same each time."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from applications.nas.files import explained, write_bytes

INK = "#1f2933"
FAINT = "#9aa5b1"
# Okabe and Ito's colors, told apart by color-blind readers too; without yellow, which is lost on white.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#4d4d4d")


def new_figure(width: float, height: float) -> Figure:
    """Make a figure that pyplot does not know.

    Args:
        width: Inches.
        height: Inches.

    Returns:
        An empty white figure with the Agg canvas, which needs no display.
    """
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path_stem: str | Path) -> tuple[Path, Path]:
    """Write a figure twice.

    Args:
        figure: What to write.
        path_stem: Path without suffix; missing folders are made.

    Returns:
        Paths of the SVG and of the PNG file.

    Raises:
        DataError: If they cannot be written.
    """
    # Not `with_suffix`: it would take the end of "run.1" for a suffix.
    svg, png = Path(f"{path_stem}.svg"), Path(f"{path_stem}.png")
    with explained(svg):
        svg.parent.mkdir(parents=True, exist_ok=True)
    drawn, painted = BytesIO(), BytesIO()
    # A fixed salt and no date: the same drawing gives the same bytes, so a figure can be compared and cached.
    with rc_context({"svg.hashsalt": "mlo"}), warnings.catch_warnings():
        # A name in letters that the font lacks is drawn as boxes; that is all there is to say.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(drawn, format="svg", metadata={"Date": None})
        figure.savefig(painted, format="png", dpi=200)
    write_bytes(svg, drawn.getvalue())
    write_bytes(png, painted.getvalue())
    return svg, png


def plain(text: str) -> str:
    """Return a label that is shown as it stands: a dollar sign begins no formula, a leading _ does not hide it."""
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def bare(axes: Axes) -> None:
    """Take away the frame and the ticks that carry no information."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8, color=FAINT)
