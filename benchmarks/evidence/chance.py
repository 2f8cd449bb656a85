"""Parts of the page of results on random cells: what chance alone finds, and how far it moves the errors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from applications.nas.report.markup import md_table
from benchmarks.evidence.rows import BASES, NONE, SIZED, TASKS, compared, plain, random_cells, study_called
from benchmarks.evidence.study import Kept

CHANCE = {"cifar100-mini": 99.0, "cifar10-mini": 90.0}
"""Test errors of guessing, in percent."""
_RIVALS = [f"{task}{kind}" for task in TASKS for kind in (": random", ": random of its size")]


def levels(studies: Sequence[Kept]) -> str:
    """Tell on which level the errors lie, and how far chance alone moves them."""
    table = study_called(studies, "evidence-table")
    if table is None:
        return NONE
    head = ["task", "all networks", "guessing", "random cells", "counting", "error and size of random cells"]
    lines = []
    for task in TASKS:
        points = [point for point in table.points if point["task"] == task]
        found = [float(point["error"]) for point in points]
        drawn = random_cells(table, task)
        errors = [float(point["error"]) for point in drawn]
        sizes = [float(point["parameters"]) for point in drawn]
        mean, tested = statistics.fmean(errors), int(points[0]["tested"])
        counting = 100 * math.sqrt(mean / 100 * (1 - mean / 100) / tested)
        cells = [
            f"{min(found):.1f} to {max(found):.1f}",
            f"{CHANCE[task]:g}",
            f"{mean:.2f} ± {statistics.stdev(errors):.2f} ({len(errors)})",
            f"± {counting:.2f}",
            f"{statistics.correlation(sizes, errors):+.2f}",
        ]
        lines.append([task, *cells])
    return md_table(head, lines)


def chance(studies: Sequence[Kept]) -> str:
    """Compare every method with random cells."""
    table = study_called(studies, "evidence-table")
    if table is None:
        return NONE
    methods = [method for base in BASES for method in (base, f"MTL-{base}", f"IL-{base}")]
    lines = [[method, *(cell for task in TASKS for cell in _beside(table, method, task))] for method in methods]
    return md_table(["method", *_RIVALS], lines)


def baselines(name: str) -> Callable[[Sequence[Kept]], str]:
    """Return what compares all rows of a study with the random cells of the table."""

    def write(studies: Sequence[Kept]) -> str:
        study = study_called(studies, name)
        if study is None or not any(row["rival"] == SIZED for row in study.comparisons):
            return NONE
        there = {(row["method"], row["task"]) for row in study.comparisons}
        lines = []
        for method in dict.fromkeys(row["method"] for row in study.comparisons if row["rival"] == SIZED):
            both = [_beside(study, method, task) if (method, task) in there else ["", ""] for task in TASKS]
            lines.append([plain(method), *(cell for cells in both for cell in cells)])
        return md_table(["row", *_RIVALS], lines)

    return write


def _beside(study: Kept, method: str, task: str) -> list[str]:
    """Compare a row with random cells, and with those of its size."""
    own = [row for row in study.comparisons if row["task"] == task and row["method"] == method]
    return [compared(own, "random", "error"), compared(own, SIZED, "error")]
