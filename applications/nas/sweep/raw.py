"""Every number that a study measured, one line for each trained network: what tables and statistics are made from."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from applications.nas.files import read_object
from applications.nas.report.read import read_retrained
from applications.nas.report.records import CUT_OFF
from applications.nas.run_folder import RESULTS
from applications.nas.space.genotype import Cell, Genotype
from applications.nas.sweep.plan import SEED, Point
from applications.nas.sweep.point import RETRAIN, finished

COLUMNS = (
    "point",
    "part",
    "settings",
    "seed",
    "task",
    "metric",
    "error",
    "top5",
    "parameters",
    "multiply_adds",
    "tested",
    "retrain_seed",
    "retrain_seconds",
    "search_seconds",
    "device",
    "skips_normal",
    "skips_reduction",
    "normal",
    "reduction",
)


def points_csv(plan: Sequence[Point], folder: Path) -> str:
    """Return all finished points as CSV.

    Args:
        plan: The points.
        folder: Of the study.

    Raises:
        DataError: If a file of a finished point is broken; the message names it.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for point in plan:
        if finished(folder / point.name, point):
            writer.writerows(_lines(point, folder / point.name))
    return file.getvalue()


def seconds_of(folder: Path) -> float:
    """Return the wall time of a finished point: of its search and of its trainings.

    Raises:
        DataError: If a file of it is broken; the message names it.
    """
    found = read_retrained(folder / RETRAIN)
    searched = 0.0 if found.search is None else found.search.seconds
    return searched + sum(float(one.get("seconds", 0.0)) for one in _trainings(folder))


def _trainings(folder: Path) -> list[dict[str, Any]]:
    trainings: list[dict[str, Any]] = read_object(folder / RETRAIN / RESULTS, CUT_OFF)["trainings"]
    return trainings


def _lines(point: Point, folder: Path) -> Iterator[dict[str, Any]]:
    found = read_retrained(folder / RETRAIN)
    genotype = Genotype.from_json(found.genotype)
    words = {field: word for field, word in point.words.items() if field != SEED}
    for test, training in zip(found.tests, _trainings(folder), strict=True):
        yield {
            "point": point.name,
            "part": point.part,
            "settings": " ".join(f"{field}={word}" for field, word in words.items()),
            "seed": point.words[SEED],
            "task": test.task,
            "metric": test.metric,
            "error": test.error,
            "top5": test.top5,
            "parameters": test.parameters,
            "multiply_adds": test.multiply_adds,
            "tested": test.tested,
            "retrain_seed": test.seed,
            "retrain_seconds": training.get("seconds"),
            "search_seconds": None if found.search is None else found.search.seconds,
            "device": "" if found.search is None else found.search.device,
            "skips_normal": _skips(genotype.normal),
            "skips_reduction": _skips(genotype.reduction),
            "normal": _short(genotype.normal),
            "reduction": _short(genotype.reduction),
        }


def _skips(cell: Cell) -> int:
    return sum(edge.operation == "skip_connect" for edge in cell.edges)


def _short(cell: Cell) -> str:
    return " ".join(map(str, cell.edges))
