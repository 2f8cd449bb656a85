"""How much of a result is the retraining's own: random cells of evidence-table again, with other seeds of the training.

    PYTHONPATH=. python benchmarks/evidence/retrained.py runs/evidence-table-cpu-1

The studies train each cell once. Two trainings of one cell, on the same images, differ by their first weights, the
order of the batches and whatever else is drawn. This trains the first random cells of the study a few times more; rows
that are there are kept.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from scipy.stats import f_oneway

from applications.nas.progress import silent
from applications.nas.report.inference import PAIRED
from applications.nas.report.markup import md_table
from applications.nas.retrain.folder import read_retrain_folder
from applications.nas.retrain.run import retrain_run
from applications.nas.run_folder import GENOTYPE, read_genotype
from applications.nas.sweep.plan import Point
from applications.nas.sweep.point import RETRAIN, finished
from applications.nas.sweep.study import swept_points
from benchmarks.evidence.archive import RESULTS, read_study
from benchmarks.evidence.rows import NONE, random_cells
from benchmarks.evidence.study import Kept
from benchmarks.quality.record import keep, load
from mlo import ConfigError

FILE = RESULTS / "retrained.json"
CELLS, MORE = 5, 4
"""Random cells, and trainings of each beside that of the study."""


def repeated(point: Point, folder: Path) -> dict[str, Any]:
    """Train a random cell again, and return its errors on each task; the study's own is the first of them.

    Args:
        point: A finished one.
        folder: Of its run.

    Raises:
        ConfigError: If the study retrains nothing.
    """
    if point.retrain is None:
        raise ConfigError(f"{folder} has no retraining to repeat")
    last = max(point.retrain.seeds)
    asked = replace(point.retrain, seeds=tuple(range(last + 1, last + 1 + MORE)))
    place = folder / RETRAIN
    with tempfile.TemporaryDirectory() as temporary:
        more = retrain_run(
            read_genotype(place / GENOTYPE), point.name, point.settings, asked, Path(temporary), lambda label: silent
        )
    errors: dict[str, list[float]] = {}
    for training in (*read_retrain_folder(place).trainings, *more):
        errors.setdefault(training.task, []).append(training.error)
    return {"errors": errors}


def to_repeat(folder: Path) -> list[Point]:
    """Return the first random cells of a study that it has trained."""
    drawn = [point for point in swept_points(read_study(folder)) if point.cell is not None]
    return [point for point in drawn if finished(folder / point.name, point)][:CELLS]


def deviation(rows: Mapping[str, Any], task: str) -> float:
    """Return the standard deviation of trainings of one cell, in points: the root of the mean variance over cells."""
    return math.sqrt(statistics.fmean(statistics.variance(row["errors"][task]) for row in rows.values()))


def told(rows: Mapping[str, Any], table: Kept | None) -> str:
    """Return a table: trainings of one cell, of different cells, and what differences of methods make of that.

    Args:
        rows: What `repeated` returned, by point.
        table: The study itself.
    """
    if not rows or table is None:
        return NONE
    head = ["task", "cells", "trainings of each", "same cell", "different cells", "p", "two trainings", "two methods"]
    lines = []
    for task in next(iter(rows.values()))["errors"]:
        counts = sorted({len(row["errors"][task]) for row in rows.values()})
        drawn = _drawn(table, task)
        pairs = [
            row for row in table.comparisons if (row["task"], row["measure"], row["test"]) == (task, "error", PAIRED)
        ]
        spread = [float(row["sd"]) for row in pairs]
        own = deviation(rows, task)
        lines.append(
            [
                task,
                str(len(rows)),
                " or ".join(map(str, counts)),
                f"{own:.2f}",
                f"{statistics.stdev(drawn):.2f} ({len(drawn)})",
                f"{f_oneway(*(row['errors'][task] for row in rows.values())).pvalue:.2g}",
                f"{math.sqrt(2) * own:.2f}",
                f"{statistics.median(spread):.2f} ({min(spread):.2f} to {max(spread):.2f})",
            ]
        )
    return md_table(head, lines)


def sentence(rows: Mapping[str, Any], table: Kept | None) -> str:
    """Say how far trainings of one cell differ, and of different ones; arguments as in `told`."""
    if not rows or table is None:
        return ""
    parts = []
    for task in next(iter(rows.values()))["errors"]:
        others = statistics.stdev(_drawn(table, task))
        parts.append(f"{task} {deviation(rows, task):.2f} points, of different cells {others:.2f}")
    said = f"Standard deviations of trainings of one random cell: {'; '.join(parts)}."
    return f"**How much is the retraining's own?** {said}"


def _drawn(table: Kept, task: str) -> list[float]:
    """Return the errors of all random cells of the study."""
    return [float(row["error"]) for row in random_cells(table, task)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the study evidence-table")
    parser.add_argument("--out", type=Path, default=FILE, help="where rows are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for point in to_repeat(options.folder):
        if point.name not in load(options.out):
            row = repeated(point, options.folder / point.name)
            keep(options.out, point.name, row, "python benchmarks/evidence/retrained.py runs/evidence-table-cpu-1")
            print(f"{point.name}: {row['errors']}", flush=True)


if __name__ == "__main__":
    main()
