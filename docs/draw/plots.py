"""The plots of the benchmarks, from what benchmarks/ has stored in benchmarks/results/."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from style import BLUE, GREEN, GREY, ORANGE, RED, write

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
LIBRARIES = {"Betty": RED, "TorchOpt": GREEN, "hypertorch": "#8d6e63", "BOAT": ORANGE, "higher": "#8e24aa"}
MARKS = {"difference": "s", "cg": "o", "neumann": "^", "unroll": "D"}


def stored(name: str) -> Any:
    """Return what a benchmark has stored."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def peers() -> Figure:
    """Draw the time of each library's answers over ours, against how far they stay from the truth."""
    results = stored("peers_speed")
    figure, axes = pyplot.subplots(figsize=(6.4, 3.8))
    for library, color in LIBRARIES.items():
        for row in results[library]["rows"]:
            time = row["time over ours"]
            bars = [[time["median"] - time["low"]], [time["high"] - time["median"]]]
            axes.errorbar(time["median"], row["solved"], xerr=bars, fmt=MARKS[row["rule"]], color=color, ms=6, lw=0.8)
    axes.axvline(1, color=BLUE, lw=1.5)
    axes.text(1.01, 1e2, "mlo", color=BLUE, va="top")
    axes.axhspan(1e-2, 3e2, color=RED, alpha=0.06, lw=0)
    axes.text(3.4, 1.5e-2, "wrong, however long it solves", color=RED, ha="right", va="bottom")
    axes.set(yscale="log", ylim=(1e-16, 3e2), xlim=(0.7, 3.5), xlabel="time over ours (median, lowest to highest)")
    axes.set_ylabel("relative error of the hypergradient")
    handles = [Line2D([], [], color=color, marker="o", ls="", label=name) for name, color in LIBRARIES.items()]
    handles += [Line2D([], [], color=GREY, marker=mark, ls="", label=rule) for rule, mark in MARKS.items()]
    axes.legend(handles=handles, ncols=2, fontsize=8, frameon=False, loc="center right")
    return figure


def faster(results: Mapping[str, Any], rival: str, wanted: Mapping[str, str], title: str) -> Figure:
    """Draw for each case how many times faster than `rival` each of `wanted` is, lowest to highest."""
    figure, axes = pyplot.subplots(figsize=(6.4, 0.5 + 0.55 * len(results)))
    for place, row in enumerate(results.values()):
        for offset, (label, color) in zip((0.16, -0.16), wanted.items(), strict=True):
            time = row["times faster"][label]
            reach = [[time["median"] - time["low"]], [time["high"] - time["median"]]]
            name = label if place == 0 else None
            axes.barh(place + offset, time["median"], 0.3, xerr=reach, color=color, ecolor=GREY, label=name)
    axes.axvline(1, color=GREY, lw=1)
    axes.set_yticks(range(len(results)), list(results))
    axes.set(xlabel=f"times faster than {rival} (median, lowest to highest)", title=title, xlim=(0, None))
    axes.title.set_fontsize(9)
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def whole_step() -> Figure:
    """Draw a whole step of a search against the original order of computation."""
    wanted = {"engine, plain": ORANGE, "engine, batched": BLUE}
    return faster(stored("whole_step"), "the original order of computation", wanted, "one iteration of a search")


def supernet() -> Figure:
    """Draw how much faster, and in how much of the memory, the batched form computes a supernet."""
    results = stored("supernet")
    figure, panels = pyplot.subplots(1, 2, figsize=(8.4, 3.3))
    wanted = {"weights": ORANGE, "architecture": GREEN, "both": BLUE}
    for offset, (kind, color) in zip((-0.26, 0.0, 0.26), wanted.items(), strict=True):
        places = [place + offset for place in range(len(results))]
        times = [row["times"][kind] for row in results.values()]
        reach = [[time["median"] - time["low"] for time in times], [time["high"] - time["median"] for time in times]]
        panels[0].bar(places, [time["median"] for time in times], 0.24, yerr=reach, color=color, ecolor=GREY)
        counts = [row["counts"][kind] for row in results.values()]
        peaks = [count["batched"]["peak"] / count["plain"]["peak"] for count in counts]
        panels[1].bar(places, peaks, 0.24, color=color, label=kind)
    for axes, title in zip(panels, ("times faster than operation by operation", "peak memory over it"), strict=True):
        axes.set_title(title, fontsize=9)
        axes.set_xticks(range(len(results)), [caption(name, row["size"]) for name, row in results.items()], fontsize=7)
        axes.axhline(1, color=GREY, lw=0.8)
    panels[1].set_ylim(0, 1.4)
    panels[1].legend(title="gradients in", fontsize=8, frameon=False, ncols=3, loc="upper center")
    return figure


def caption(name: str, size: str) -> str:
    """Return the name of a supernet and its size, broken into lines."""
    shape, _, rest = size.partition(", batch")
    return f"{name}\n{shape}\nbatch{rest}"


def floor() -> Figure:
    """Draw operations of a hypergradient or step over the least of three versions written by hand."""
    results = stored("floor")
    figure, axes = pyplot.subplots(figsize=(6.4, 3.6))
    over = {case: row["counts"]["ours"]["operations"] / least(row["counts"]) for case, row in results.items()}
    axes.barh(range(len(over)), [ratio - 1 for ratio in over.values()], left=1, color=BLUE, height=0.6)
    axes.set_yticks(range(len(over)), list(over), fontsize=7)
    axes.axvline(1, color=GREY, lw=1)
    axes.set(xlim=(0.95, 1.05), xlabel="operations over the least of three versions written by hand")
    axes.invert_yaxis()
    return figure


def least(counts: Mapping[str, Mapping[str, int]]) -> int:
    """Return the fewest operations of those written by hand."""
    return min(count["operations"] for version, count in counts.items() if version != "ours")


if __name__ == "__main__":
    for draw in (peers, supernet, whole_step, floor):
        print(write(draw(), draw.__name__))
