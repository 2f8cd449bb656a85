"""Sweeps: what is run, what is run again, what a failure does, and the numbers that come out.

Searches and retrainings are made up here, each error a formula of the settings, so that means can be checked.
"""

from __future__ import annotations

import csv
import io
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from applications.nas.presets import RETRAIN, SEARCH
from applications.nas.settings import CifarForm, Interleaving, SearchSettings
from applications.nas.sweep.launch.local import LocalLauncher
from applications.nas.sweep.plan import Axis, SweepSettings
from applications.nas.sweep.run import sweep
from mlo import ConfigError, DivergenceError, MLOError
from tests.nas.made_world import World

WEIGHTS, SEEDS = (1.0, 10.0, 1000.0), (0, 1)
AXES = (Axis("formulation.weight", ("1", "10", "1000")), Axis("seed", ("0", "1")))
SWEEP = SweepSettings(SEARCH["digits"][1], AXES, replace(RETRAIN["digits"][1], seeds=(0, 1)))
SINGLE = Axis("formulation", ("single",))
AUXILIARY = CifarForm(channels=2, layers=3, auxiliary=True)


def error(task: str, searched: SearchSettings, seed: int) -> float:
    assert isinstance(searched.formulation, Interleaving)
    return searched.formulation.weight / 100 + 3 * searched.seed + seed + (20 if task == "digits" else 0)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch, error)


def run(folder: Path, settings: SweepSettings = SWEEP) -> str:
    log = io.StringIO()
    sweep(settings, folder, Console(file=log, width=200), launcher=LocalLauncher(2))
    return log.getvalue()


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "table.csv").read_text().splitlines()))


def test_the_table_and_what_is_in_the_folder(world: World, tmp_path: Path) -> None:
    shown = run(tmp_path / "s")
    assert len(world.searched) == len(world.retrained) == 6
    rows = table(tmp_path / "s")
    assert [row["formulation.weight"] for row in rows] == ["1", "10", "1000"]
    for row, weight in zip(rows, WEIGHTS, strict=True):
        for task, base in (("digits", 20), ("loops", 0)):
            # Each search counts with the mean of its two retrainings: 0.5 above its own level.
            each = [base + weight / 100 + 3 * seed + 0.5 for seed in SEEDS]
            assert float(row[f"{task}: test error % mean"]) == pytest.approx(statistics.mean(each), abs=1e-12)
            assert float(row[f"{task}: test error % std"]) == pytest.approx(statistics.stdev(each), abs=1e-12)
            assert (row[f"{task}: test error % n"], row[f"{task}: test error % over"]) == ("2", "searches")
    names = {path.name for path in (tmp_path / "s").iterdir()}
    files = {
        "README.md",
        "index.html",
        "table.csv",
        "sweep.json",
        "by-formulation.weight.svg",
        "by-formulation.weight.png",
    }
    assert names - {".lock"} == files | set(world.searched)
    text = (tmp_path / "s" / "README.md").read_text()
    assert "lambda = 10 at lr = 0.025, implicit: c = 0.5, rho = 0.333" in text, "c = 2 lr lambda, rho = c / (1 + c)"
    assert "| 10 | 22.10 ± 2.12 | 2.10 ± 2.12 | 2 searches, 2 retrainings each |" in text
    assert "(by-formulation.weight.svg)" in text
    assert "22.10 ± 2.12" in shown


def test_finished_points_are_not_run_again(world: World, tmp_path: Path) -> None:
    run(tmp_path)
    world.searched.clear()
    world.retrained.clear()
    assert "6 of 6 points are finished already" in run(tmp_path)
    assert world.searched == world.retrained == []
    (tmp_path / "weight=10,seed=1" / "retrain" / "results.json").unlink()
    (tmp_path / "weight=1,seed=0" / "README.md").unlink()
    assert "4 of 6 points are finished already" in run(tmp_path)
    assert world.searched == ["weight=1,seed=0"], "a search that is finished stays"
    assert world.retrained == ["weight=1,seed=0", "weight=10,seed=1"]


@pytest.mark.parametrize("stage", ["search", "retrain"])
def test_a_point_that_fails(stage: str, world: World, tmp_path: Path) -> None:
    bad = "weight=10,seed=1"
    world.broken[f"{stage} {bad}"] = DivergenceError("the loss is nan")
    told = rf"^sweep: 1 of 6 points failed: {bad} \(the loss is nan\)\. .*mlo-nas sweep --resume"
    with pytest.raises(MLOError, match=told):
        run(tmp_path)
    assert (tmp_path / bad / "failure.txt").read_text() == "the loss is nan\n"
    rows = table(tmp_path)
    assert [row["digits: test error % n"] for row in rows] == ["2", "2", "2"]
    assert [row["digits: test error % over"] for row in rows] == ["searches", "retrainings", "searches"]
    assert f"{bad} failed, and is not in the table: the loss is nan" in (tmp_path / "README.md").read_text()

    world.broken.clear()
    world.searched.clear()
    world.retrained.clear()
    run(tmp_path)
    assert world.searched == ([bad] if stage == "search" else []), "what was searched is kept"
    assert world.retrained == [bad]
    assert not (tmp_path / bad / "failure.txt").exists()
    assert "failed" not in (tmp_path / "README.md").read_text()


def test_an_error_that_is_none_of_ours_is_kept_with_its_place(world: World, tmp_path: Path) -> None:
    world.broken["search weight=1,seed=0"] = RuntimeError("CUDA out of\nmemory")
    with pytest.raises(MLOError, match=r"1 of 6 points failed: weight=1,seed=0 \(RuntimeError: CUDA out of memory\)"):
        run(tmp_path)
    lines = (tmp_path / "weight=1,seed=0" / "failure.txt").read_text().splitlines()
    assert lines[0] == "RuntimeError: CUDA out of memory"
    assert any("in search" in line for line in lines), "where it arose"


def test_all_points_fail(world: World, tmp_path: Path) -> None:
    for weight in ("1", "10", "1000"):
        for seed in SEEDS:
            world.broken[f"search weight={weight},seed={seed}"] = DivergenceError("no")
    with pytest.raises(MLOError, match="6 of 6 points failed"):
        run(tmp_path)
    assert "nothing finished" in (tmp_path / "README.md").read_text()


def test_a_point_that_was_changed_is_refused(world: World, tmp_path: Path) -> None:
    run(tmp_path)
    world.searched.clear()
    for file in ("weight=1,seed=0/config.json", "weight=1,seed=0/retrain/config.json"):
        text = (tmp_path / file).read_text()
        (tmp_path / file).write_text(text.replace('"epochs": 1', '"epochs": 3'))
        with pytest.raises(ConfigError, match=rf"{file} holds other settings than the sweep asks for now"):
            run(tmp_path)
        (tmp_path / file).write_text(text)
    assert world.searched == []


def test_without_a_retraining_skips_are_counted(world: World, tmp_path: Path) -> None:
    run(tmp_path, replace(SWEEP, retrain=None))
    assert world.retrained == []
    rows = table(tmp_path)
    assert [row["skip connections mean"] for row in rows] == ["5.0", "5.0", "5.0"]
    assert "no test error" in (tmp_path / "README.md").read_text()


def test_seeds_alone_make_one_row_and_no_figure(world: World, tmp_path: Path) -> None:
    run(tmp_path, replace(SWEEP, axes=(Axis("seed", ("0", "1")),)))
    assert not list(tmp_path.glob("by-*"))
    assert len(table(tmp_path)) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"axes": (SINGLE, Axis("formulation.task", ("nope",)))}, "the tasks are digits, loops"),
        ({"axes": (Axis("supernet.primitives", ("none,nope",)),)}, "operation 'nope' is unknown"),
        ({"axes": AXES, "retrain": replace(RETRAIN["digits"][1], network=AUXILIARY)}, "its head needs 8x8"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(
    change: dict[str, Any], told: str, world: World, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        run(tmp_path / "s", replace(SWEEP, **change))
    assert world.searched == []
    assert not (tmp_path / "s").exists()
