"""Random cells of a study trained again: as many errors as were asked for, the study's own among them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from applications.nas.config_file import to_json
from applications.nas.retrain import run
from applications.nas.retrain.folder import read_retrain_folder
from applications.nas.sweep.point import run_point
from applications.nas.sweep.study import Part, swept_points
from benchmarks.evidence import retrained
from mlo import ConfigError
from tests.nas.made_world import Silent
from tests.nas.test_study_run import STUDY, TINY

ROWS = {
    "random-0": {"errors": {"digits": [10.0, 12.0], "loops": [1.0, 1.0]}},
    "random-1": {"errors": {"digits": [30.0, 34.0], "loops": [2.0, 4.0]}},
}


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "write_pages", lambda *_: None)


def made(folder: Path) -> None:
    """Make a study with two random cells, and train the first."""
    study = replace(STUDY, parts=(Part("base", TINY),))
    folder.mkdir()
    (folder / "sweep.json").write_text(to_json(study))
    point = next(point for point in swept_points(study) if point.cell is not None)
    run_point(point, folder / point.name, Silent())


def test_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study's own errors come first; other seeds give others, and the same seed the same."""
    folder, out = tmp_path / "study", tmp_path / "rows.json"
    made(folder)
    monkeypatch.setattr(retrained, "MORE", 2)
    monkeypatch.setattr("sys.argv", ["retrained.py", str(folder), "--out", str(out)])
    retrained.main()
    (row,) = json.loads(out.read_text()).values()
    own = {one.task: one.error for one in read_retrain_folder(folder / "random-0" / "retrain").trainings}
    assert {task: errors[0] for task, errors in row["errors"].items()} == own
    assert all(len(errors) == 3 and len(set(errors)) > 1 for errors in row["errors"].values())
    before = out.read_bytes()
    retrained.main()
    assert out.read_bytes() == before, "what is there is kept"
    (point,) = retrained.to_repeat(folder)
    assert retrained.repeated(point, folder / point.name)["errors"] == row["errors"]


def test_a_study_that_retrains_nothing(tmp_path: Path) -> None:
    point = next(point for point in swept_points(STUDY) if point.cell is not None)
    with pytest.raises(ConfigError, match="has no retraining to repeat"):
        retrained.repeated(replace(point, retrain=None), tmp_path)


def test_deviation_of_trainings_of_one_cell() -> None:
    """By hand: variances 2 and 8 of digits, 0 and 2 of loops; cells that differ from each other do not count."""
    assert retrained.deviation(ROWS, "digits") == pytest.approx(5**0.5, rel=1e-15)
    assert retrained.deviation(ROWS, "loops") == 1.0


def test_what_is_told() -> None:
    def pair(task: str, sd: str, test: str = "paired t") -> dict[str, str]:
        return {"task": task, "measure": "error", "test": test, "sd": sd}

    points = [
        {"part": part, "task": task, "error": str(error)}
        for part, task, error in (("random", "digits", 9), ("random", "digits", 11), ("base", "digits", 50))
    ] + [{"part": "random", "task": "loops", "error": str(error)} for error in (1, 2)]
    pairs = [
        pair("digits", "1"),
        pair("digits", "4"),
        pair("digits", "2"),
        pair("digits", "99", "Welch t"),
        pair("loops", "3"),
    ]
    table: Any = SimpleNamespace(points=points, comparisons=pairs)
    assert retrained.told(ROWS, table).splitlines()[2:] == [
        "| digits | 2 | 2 | 2.24 | 1.41 (2) | 0.011 | 3.16 | 2.00 (1.00 to 4.00) |",
        "| loops | 2 | 2 | 1.00 | 0.71 (2) | 0.18 | 1.41 | 3.00 (3.00 to 3.00) |",
    ]
    assert retrained.told({}, table) == retrained.told(ROWS, None) == "Not run yet."
    said = retrained.sentence(ROWS, table)
    assert said.endswith(
        "random cell: digits 2.24 points, of different cells 1.41; loops 1.00 points, of different cells 0.71."
    )
    assert retrained.sentence({}, table) == retrained.sentence(ROWS, None) == ""
