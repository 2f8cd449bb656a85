"""What is kept of a study, read from its runs and its report."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from applications.nas.sweep.alike import alike_rows
from applications.nas.sweep.plan import SEED, Point
from applications.nas.sweep.point import finished
from applications.nas.sweep.raw import points_csv, seconds_of
from applications.nas.sweep.reuse import TAKEN
from applications.nas.sweep.study import StudySettings, swept_points
from benchmarks.evidence.archive import read_study

Row = Mapping[str, str]
_HASH = re.compile(r"^([0-9a-f]{12})[0-9a-f]+")
_IMAGE = re.compile(r"^!\[(.+)\]\((.+)\)$", re.MULTILINE)


@dataclass(frozen=True)
class Kept:
    """A study and its report.

    Attributes:
        name: Such as "evidence-table".
        scale: Such as "cpu".
        seeds: Those that are whole; all other attributes but the next are of these alone.
        planned: All that were to be run.
        searches: Finished ones.
        random: Random cells that are trained.
        hours: Of one core: what its searches and trainings took, without those that another study ran.
        taken: Points that another study ran.
        commits: Of the code that ran them.
        days: On which they began.
        torch: Its version.
        comparisons: Of the report.
        verdicts: Of the report, on claims that it can judge.
        figures: Of the report, each with its caption.
        alike: How many edges its cells share.
        points: Every network that was trained, as in points.csv.
    """

    name: str
    scale: str
    seeds: tuple[int, ...]
    planned: tuple[int, ...]
    searches: int
    random: int
    hours: float
    taken: int
    commits: tuple[str, ...]
    days: tuple[str, ...]
    torch: tuple[str, ...]
    comparisons: Sequence[Row]
    verdicts: Sequence[Row]
    figures: Sequence[tuple[str, str]]
    alike: Sequence[Sequence[str]]
    points: Sequence[Row]


def read_kept(name: str, folder: Path, report: Path) -> Kept:
    """Read a study that is unpacked.

    Args:
        name: Its name.
        folder: Where it is.
        report: Where its report is.
    """
    settings = read_study(folder)
    plan = swept_points(settings)
    there = [point for point in plan if finished(folder / point.name, point)]
    own = [point for point in there if not (folder / point.name / TAKEN).is_file()]
    about = [json.loads(file.read_text()) for file in sorted(folder.glob("**/environment.json"))]
    return Kept(
        name,
        settings.scale,
        whole_seeds(settings, folder),
        settings.seeds,
        sum(point.cell is None for point in there),
        sum(point.cell is not None for point in there),
        sum(seconds_of(folder / point.name) for point in own) / 3600,
        len(there) - len(own),
        tuple(sorted({_HASH.sub(r"\1", str(one["commit"])) for one in about})),
        tuple(sorted({str(one["started"])[:10] for one in about})),
        tuple(sorted({str(one["torch"]) for one in about})),
        _rows(report / "comparisons.csv"),
        [row for row in _rows(report / "verdicts.csv") if row["test"]],
        [(file, caption) for caption, file in _IMAGE.findall((report / "report.md").read_text(encoding="utf-8"))],
        alike_rows(settings, plan, folder),
        list(csv.DictReader(points_csv(plan, folder).splitlines())),
    )


def whole_seeds(settings: StudySettings, folder: Path) -> tuple[int, ...]:
    """Return the seeds of a study of which every search and every random cell is there."""
    missing = {_seed(settings, point) for point in swept_points(settings) if not finished(folder / point.name, point)}
    return tuple(seed for seed in settings.seeds if seed not in missing)


def keep_whole(folder: Path) -> None:
    """Remove the points of seeds that are not whole, so that all methods are judged on the same seeds.

    Args:
        folder: Of a study.
    """
    settings = read_study(folder)
    whole = whole_seeds(settings, folder)
    for point in swept_points(settings):
        if _seed(settings, point) not in whole:
            shutil.rmtree(folder / point.name, ignore_errors=True)


def _seed(settings: StudySettings, point: Point) -> int:
    return int(point.words[SEED]) if point.cell is None else point.cell // settings.random


def _rows(file: Path) -> list[Row]:
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
