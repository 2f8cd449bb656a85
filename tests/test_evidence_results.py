"""The page of results says what the kept runs say, and these can be weighed by hand."""

from __future__ import annotations

import csv
import statistics
from collections import defaultdict
from itertools import chain
from pathlib import Path

import pytest
from scipy import stats

from applications.nas.sweep.folder import read_sweep
from applications.nas.sweep.raw import points_csv
from applications.nas.sweep.study import swept_points
from benchmarks.evidence.archive import POINTS, RESULTS, RUNS, unpack
from benchmarks.evidence.publish import PAGE, generated, published
from benchmarks.evidence.rows import BASES, TASKS
from benchmarks.evidence.study import Kept

KEPT = sorted(place.parent.name for place in RESULTS.glob(f"*/{RUNS}"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Kept]]:
    place = tmp_path_factory.mktemp("results")
    return place, published(place)


def test_the_page_and_the_reports_are_those_of_the_runs(made: tuple[Path, list[Kept]]) -> None:
    place, studies = made
    page = PAGE.read_text(encoding="utf-8")
    assert generated(page, studies) == page, "run benchmarks/evidence/publish.py"
    for name in KEPT:
        files = {file.name for file in (RESULTS / name).iterdir()} - {RUNS, POINTS}
        assert files == {file.name for file in (place / name).iterdir()}
        for file in files:
            one, other = ((where / name / file).read_text(encoding="utf-8") for where in (RESULTS, place))
            if file.endswith(".csv"):  # every digit, of which the last may differ on another processor
                assert_close(one, other)
            else:
                assert one == other, f"{name}/{file}: run benchmarks/evidence/publish.py"


def assert_close(one: str, other: str) -> None:
    rows, others = (list(csv.reader(text.splitlines())) for text in (one, other))
    assert len(rows) == len(others)
    for cell, again in zip(chain(*rows), chain(*others), strict=True):
        if cell != again:
            assert float(cell) == pytest.approx(float(again), rel=1e-9)


def errors(name: str) -> dict[tuple[str, str], dict[int, float]]:
    """Return the test error of each seed, by part with settings and task, from the raw points."""
    found: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for row in csv.DictReader((RESULTS / name / POINTS).read_text().splitlines()):
        found[f"{row['part']} {row['settings']}".strip(), row["task"]][int(row["seed"])] = float(row["error"])
    return found


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("task", TASKS)
def test_differences_by_hand(task: str, base: str, made: tuple[Path, list[Kept]]) -> None:
    found = errors("evidence-table")
    seeds = next(one for one in made[1] if one.name == "evidence-table").seeds
    own = found[f"{base} interleaving", task]
    line = next(line for line in PAGE.read_text().splitlines() if line.startswith(f"| {task} | IL-{base} |"))
    cells = [cell.strip(" *") for cell in line.strip("|").split("|")][2:4]
    rivals = (f"{base} single formulation.task={task}", f"{base} multi")
    for cell, rival in zip(cells, rivals, strict=True):
        gaps = [found[rival, task][seed] - own[seed] for seed in seeds]
        half = stats.t.ppf(0.975, len(gaps) - 1) * statistics.stdev(gaps) / len(gaps) ** 0.5
        mean = statistics.fmean(gaps)
        assert cell == f"{mean:+.2f} [{mean - half:.2f}, {mean + half:.2f}]"


@pytest.mark.parametrize("name", KEPT)
def test_raw_points_are_those_of_the_archive(name: str, tmp_path: Path) -> None:
    unpack(name, tmp_path / name)
    plan = swept_points(read_sweep(tmp_path / name))
    assert (RESULTS / name / POINTS).read_text() == points_csv(plan, tmp_path / name)


def test_lambda_0_is_multi_task_search() -> None:
    """As the page says: the same cells, and the same test errors."""

    def found(name: str, label: str) -> dict[tuple[str, ...], tuple[str, ...]]:
        rows = csv.DictReader((RESULTS / name / POINTS).read_text().splitlines())
        return {
            (row["seed"], row["task"]): (row["error"], row["normal"], row["reduction"])
            for row in rows
            if f"{row['part']} {row['settings']}".strip() == label
        }

    multi, held = found("evidence-table", "DARTS-1st multi"), found("evidence-lambda", "implicit formulation.weight=0")
    assert held
    assert held.keys() <= multi.keys()
    assert all(multi[key] == held[key] for key in held)
