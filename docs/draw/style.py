"""How figures of the documentation look, and how they are written: the same data give the same file, byte for byte."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.figure import Figure

FIGURES = Path(__file__).resolve().parent.parent / "figures"
BLUE, ORANGE, GREEN, RED, GREY = "#3f51b5", "#ef8a17", "#2e8b57", "#c62828", "#707070"

pyplot.rcParams.update(
    {
        "svg.hashsalt": "mlo",
        "svg.fonttype": "path",  # the same letters for every reader
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.constrained_layout.use": True,
    }
)


def write(figure: Figure, name: str, folder: Path = FIGURES) -> Path:
    """Write a figure as SVG."""
    path = folder / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    pyplot.close(figure)
    return path
