"""Searches of a study again with the least change: of nothing, nothing comes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from applications.nas.config_file import to_json
from applications.nas.search import SearchOutcome, record, search
from applications.nas.settings import CheckpointSettings, SearchSettings, SingleTask
from applications.nas.sweep.study import Part, swept_points
from benchmarks.evidence import perturbed
from tests.nas.test_study_run import STUDY, TINY

SEARCH = replace(TINY, formulation=SingleTask("digits"), checkpoint=CheckpointSettings(share=1.0))


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "draw_search", lambda *_: ([], []))


def made(folder: Path) -> None:
    """Make a study of two parts, of which the second refers to the first, and run the first seed of the first."""
    study = replace(
        STUDY, parts=(Part("base", SEARCH), Part("more", replace(SEARCH, epochs=2), reference="base")), random=1
    )
    folder.mkdir()
    (folder / "sweep.json").write_text(to_json(study))
    point = next(point for point in swept_points(study) if point.part == "base" and point.settings.seed == 0)
    search(point.settings, folder / point.name)


def test_of_no_change_comes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the learning rate that a user would see is changed by what is said."""
    folder, rates = tmp_path / "study", []

    def seen(settings: SearchSettings, where: Path) -> SearchOutcome:
        rates.append(settings.weights.lr)
        return search(settings, where)

    made(folder)
    monkeypatch.setattr(perturbed, "search", seen)
    (point,) = perturbed.to_repeat(folder)
    assert (point.part, point.settings.seed) == ("base", 0), "what the others are compared with, as far as it is there"
    perturbed.repeated(point, folder / point.name)
    monkeypatch.setattr(perturbed, "RELATIVE", 0.0)
    row = perturbed.repeated(point, folder / point.name)
    assert row == {"part": "base", "seed": 0, "shared": 4, "edges": 4}
    assert rates == [pytest.approx(0.025 * (1 + 1e-6), rel=1e-12), 0.025]


def test_rows_that_are_there_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "study")
    out = tmp_path / "rows.json"
    out.write_text(json.dumps({"base,seed=0": {"part": "base", "seed": 0, "shared": 3, "edges": 4}}))
    before = out.read_bytes()
    monkeypatch.setattr("sys.argv", ["perturbed.py", str(tmp_path / "study"), "--out", str(out)])
    perturbed.main()
    assert out.read_bytes() == before


def test_what_is_told_of_rows() -> None:
    rows = {
        f"{part} {seed}": {"part": part, "seed": seed, "shared": shared, "edges": 16}
        for part, seed, shared in (("one", 1, 7), ("one", 0, 16), ("two", 0, 3))
    }
    table = perturbed.told(rows).splitlines()
    assert table[2:] == ["| one | 2 | 11.5 of 16 | 16, 7 |", "| two | 1 | 3.0 of 16 | 3 |"]
    assert perturbed.told({}) == "Not run yet."


def test_what_is_said_of_rows_beside_those_of_rules() -> None:
    rows = {str(shared): {"part": "one", "seed": 0, "shared": shared, "edges": 16} for shared in (4, 9)}
    alike = [
        ["one, rule exact", "3", "-", "-", "0.7 of 16"],
        ["one, rule first", "3", "one, rule exact", "6.7 of 16", "2.3 of 16"],
        ["one difference, epsilon 1", "3", "one, rule exact", "6.0 of 16", "1.3 of 16"],
        ["two, rule first", "3", "two, rule exact", "1.0 of 16", "1.0 of 16"],
    ]
    said = perturbed.sentence(rows, alike)
    assert "one, the cells of other rules share 6.0 to 6.7 of 16 edges" in said
    assert "by a millionth leaves 6.5 (4 to 9), another seed 0.7." in said
    assert "two" not in said
    assert perturbed.sentence({}, alike) == ""
