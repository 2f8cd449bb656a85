"""The plots of docs/evidence/hypergradients.md, from what benchmarks/hypergradient_quality.py has stored."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from style import BLUE, GREEN, GREY, ORANGE, RED, write

RESULTS = Path(__file__).resolve().parents[1] / "evidence" / "results" / "hypergradients.json"
AS_IS = "ReLU, max pools"
COLORS = (BLUE, ORANGE, GREEN, RED, GREY, "#8e24aa", "#8d6e63")


def stored() -> list[dict[str, Any]]:
    """Return the points that look one step ahead."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8")).values()
    return [row for row in rows if "judge" in row]


def lengths(row: Mapping[str, Any]) -> list[str]:
    """Return the lengths of perturbations."""
    return list(row["kinks"])


def band(axes: Axes, rows: list[dict[str, Any]], value: Callable[[Any, str], float], label: str, color: str) -> None:
    """Draw the median over points against the length of the perturbation, and the range."""
    names = lengths(rows[0])
    values = [[value(row, name) for row in rows] for name in names]
    x = [float(name) for name in names]
    axes.plot(x, [statistics.median(some) for some in values], "o-", color=color, ms=3, lw=1.2, label=label)
    axes.fill_between(x, [min(some) for some in values], [max(some) for some in values], color=color, alpha=0.12, lw=0)


def kinds(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the points by supernet, or by shape where that is not the usual one."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        net = f"{row['method']}, C = {row['channels']}, L = {row['layers']}"
        found.setdefault(net if row["shape"] == AS_IS else f"{net}, {row['shape']}", []).append(row)
    return found


def hypergradient_error() -> Figure:
    """Draw the error of central differences, and the kinks they jump over, against their length."""
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.8, 4.2))
    groups = kinds(stored())
    for color, (name, rows) in zip(COLORS * 2, groups.items(), strict=False):
        band(left, rows, lambda row, r: row["float64"][f"central {r}"][1], name, color)
        if rows[0]["shape"] == AS_IS:
            band(right, rows, lambda row, r: max(row["kinks"][r]["relu"], 0.5), name, color)
    base = [row for row in stored() if row["shape"] == AS_IS]
    first = statistics.median(row["float64"]["first"][1] for row in base)
    left.axhline(first, color="black", lw=0.8, ls="--")
    left.text(1.3e-6, first * 1.1, "first order", fontsize=8, va="bottom")
    left.set(ylabel="relative error of the hypergradient", title="against the exact derivative, float64")
    right.set(ylabel="ReLUs that change sides", title="what a central difference jumps over")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="length of the perturbation, epsilon")
        axes.title.set_fontsize(9)
    figure.legend(*left.get_legend_handles_labels(), fontsize=7, frameon=False, loc="outside lower center", ncols=2)
    return figure


def hypergradient_judge() -> Figure:
    """Draw how well central differences predict the actual change of the looked-ahead loss, by their length."""
    rows = [row for row in stored() if row["shape"] == AS_IS]
    names = [name for name in lengths(rows[0]) if float(name) > 5e-5]
    moves = list(rows[0]["judge"])[1:]
    figure, panels = pyplot.subplots(1, len(moves), figsize=(8.8, 3.0), sharey=True)
    for axes, move in zip(panels, moves, strict=True):
        for row in rows:
            errors = [row["judge"][move]["rules"][f"central {name}"]["error"] for name in names]
            axes.plot([float(name) for name in names], errors, "-", color=BLUE, lw=0.8, alpha=0.6)
        for rule, color in (("exact", RED), ("first", GREY)):
            middle = statistics.median(row["judge"][move]["rules"][rule]["error"] for row in rows)
            axes.axhline(middle, color=color, ls="--", lw=1, label=rule)
        axes.set(xscale="log", yscale="log", title=f"moves of {move}", xlabel="epsilon")
        axes.title.set_fontsize(9)
    panels[0].set_ylabel("relative error of predictions")
    panels[0].legend(frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    for draw in (hypergradient_error, hypergradient_judge):
        print(write(draw(), draw.__name__))
