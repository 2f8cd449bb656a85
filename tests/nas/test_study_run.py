"""Studies that run: what is done, what is done again, and the numbers that come out.

But for the last test, searches and retrainings are made up, each error a formula of the settings.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from applications.nas.commands import report
from applications.nas.jobs import Job
from applications.nas.presets import RETRAIN, SEARCH
from applications.nas.report.read import find_runs
from applications.nas.report.rows import measured_rows
from applications.nas.settings import CifarForm, Interleaving, SearchSettings, SingleTask, SupernetSettings
from applications.nas.space.cell import CellSpace
from applications.nas.space.genotype import Cell, Edge, Genotype, random_genotype
from applications.nas.stopping import Stopped
from applications.nas.sweep import alike as alike_module
from applications.nas.sweep.alike import shared_edges
from applications.nas.sweep.launch import local as local_module
from applications.nas.sweep.launch.local import LocalLauncher
from applications.nas.sweep.look_study import describe_study
from applications.nas.sweep.plan import Axis
from applications.nas.sweep.point import run_point
from applications.nas.sweep.run import sweep
from applications.nas.sweep.study import Part, StudySettings, swept_points
from mlo import DivergenceError, MLOError
from tests.nas.made_world import Silent, World

TINY = replace(
    SEARCH["digits"][1],
    formulation=Interleaving(weight=20.0),
    supernet=SupernetSettings(nodes=1, primitives=("none", "skip_connect", "max_pool_3x3"), channels=2, layers=3),
    epochs=1,
    batch=300,
)
STUDY = StudySettings(
    "mine",
    "small",
    "Does it work?",
    (
        Part("single", replace(TINY, formulation=SingleTask()), (Axis("formulation.task", ("digits", "loops")),)),
        Part("curve", TINY, (Axis("formulation.weight", ("1", "10")),), "single"),
    ),
    (0, 1),
    replace(RETRAIN["digits"][1], network=CifarForm(channels=2, layers=3), epochs=1, batch=300, seeds=(0,)),
    random=2,
)


def error(task: str, searched: SearchSettings, seed: int) -> float:
    """By hand: 40 for digits, 10 for loops, and what the search and its seed add."""
    form = searched.formulation
    added = form.weight if isinstance(form, Interleaving) else 5.0
    return (40.0 if task == "digits" else 10.0) + added / 10 + searched.seed


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World(monkeypatch, error)
    monkeypatch.setattr(alike_module, "read_genotype", lambda folder: genotype(len(folder.name)))
    return found


def genotype(seed: int) -> Genotype:
    return random_genotype(CellSpace(), torch.Generator().manual_seed(seed))


def run(folder: Path, settings: StudySettings = STUDY) -> str:
    log = io.StringIO()
    sweep(settings, folder, Console(file=log, width=200), launcher=LocalLauncher(2))
    return log.getvalue()


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def test_the_table_of_all_parts(world: World, tmp_path: Path) -> None:
    shown = run(tmp_path)
    names = ["single, task digits", "single, task loops", "curve, weight 1", "curve, weight 10", "random"]
    rows = {row["part"]: row for row in table(tmp_path / "table.csv")}
    assert list(rows) == names
    for name, added in zip(names[:4], (0.5, 0.5, 0.1, 1.0), strict=True):
        each = [40 + added + seed for seed in (0, 1)]
        assert float(rows[name]["digits: test error % mean"]) == pytest.approx(statistics.mean(each), abs=1e-12)
        assert float(rows[name]["digits: test error % std"]) == pytest.approx(statistics.stdev(each), abs=1e-12)
        assert rows[name]["digits: test error % over"] == "searches"
    random = [40 + 0.5 + number for number in range(4)]  # their settings are those of the first part
    assert float(rows["random"]["digits: test error % mean"]) == pytest.approx(statistics.mean(random), abs=1e-12)
    assert (rows["random"]["digits: test error % n"], rows["random"]["digits: test error % over"]) == ("4", "cells")
    assert shown.rstrip().endswith(f"compare by `mlo-nas report {tmp_path}`")
    assert {path.name for path in tmp_path.glob("*.svg")} == {
        "single-by-formulation.task.svg",
        "curve-by-formulation.weight.svg",
    }
    text = (tmp_path / "README.md").read_text()
    assert "8 searches and 4 random cells" in text
    assert "lambda = 10 at lr = 0.025, implicit: c = 0.5, rho = 0.333" in text


def test_each_trained_network_has_a_line(world: World, tmp_path: Path) -> None:
    run(tmp_path)
    lines = table(tmp_path / "points.csv")
    assert len(lines) == (8 + 4) * 2
    (one,) = [line for line in lines if line["point"] == "curve,weight=10,seed=1" and line["task"] == "loops"]
    assert (one["part"], one["settings"], one["seed"]) == ("curve", "formulation.weight=10", "1")
    assert (float(one["error"]), one["search_seconds"], one["retrain_seconds"]) == (12.0, "8640.0", "1.0")
    (cell,) = [line for line in lines if line["point"] == "random-3" and line["task"] == "loops"]
    assert (cell["part"], cell["seed"], cell["search_seconds"]) == ("random", "3", "")
    drawn = random_genotype(TINY.supernet.space, torch.Generator().manual_seed(3))
    assert cell["normal"] == " ".join(map(str, drawn.normal.edges))
    assert int(cell["skips_normal"]) == sum(edge.operation == "skip_connect" for edge in drawn.normal.edges)


def test_a_report_pools_the_random_cells(world: World, tmp_path: Path) -> None:
    run(tmp_path)
    found = find_runs([tmp_path])
    assert found.left_out == []
    rows = {row.method: row for row in measured_rows(found.retrained, "digits", "error %")}
    assert rows["random"].error.count > 1, "equal cells count once"
    assert rows["random"].days == 0.0


def test_a_report_has_the_figures_of_a_study(world: World, tmp_path: Path) -> None:
    study, tables = tmp_path / "study", tmp_path / "tables"
    run(study)
    before = sorted(study.rglob("*"))
    report.run([str(study), "--out", str(tables)], Console(file=io.StringIO()))
    assert sorted(file.name for file in tables.glob("*.svg")) == [
        "curve-by-formulation.weight.svg",
        "single-by-formulation.task.svg",
    ]
    text = (tables / "report.md").read_text()
    about = "curve: results over formulation.weight; bars are standard deviations."
    assert f"![{about}](curve-by-formulation.weight.svg)" in text
    assert sorted(study.rglob("*")) == before


def test_a_report_of_several_sweeps_tells_their_figures_apart(world: World, tmp_path: Path) -> None:
    for name in ("a/one", "b/one", "b/two"):
        run(tmp_path / name)
    (tmp_path / "b/two/sweep.json").write_text("{")
    report.run([str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "t")], Console(file=io.StringIO()))
    files = ["1-curve-by-formulation.weight.svg", "2-curve-by-formulation.weight.svg"]
    assert sorted(file.name for file in (tmp_path / "t").glob("*weight.svg")) == files
    text = (tmp_path / "t/report.md").read_text()
    for folder, file in zip(("a/one", "b/one"), files, strict=True):
        caption = f"{tmp_path / folder}: curve: results over formulation.weight; bars are standard deviations."
        assert f"![{caption}]({file})" in text
    assert f"{tmp_path / 'b/two'}: no figures: " in text.replace("\\", "")


def test_finished_points_are_not_run_again(world: World, tmp_path: Path) -> None:
    run(tmp_path)
    assert world.searched[:4] == [f"single,task={task},seed=0" for task in ("digits", "loops")] + [
        f"curve,weight={weight},seed=0" for weight in (1, 10)
    ]
    world.searched.clear()
    world.retrained.clear()
    (tmp_path / "random-2" / "retrain" / "results.json").unlink()
    (tmp_path / "curve,weight=1,seed=1" / "README.md").unlink()
    text = describe_study(STUDY, tmp_path, "here")
    assert "12 points, of which 10 are finished" in text
    assert "  curve: 4 points, 3 finished; 2 h 24 min each\n" in text, "8640 s of search and two trainings of 1 s"
    assert "left: about 2 h 24 min of one worker" in text
    assert "10 of 12 points are finished already" in run(tmp_path)
    assert world.searched == ["curve,weight=1,seed=1"]
    assert world.retrained == ["curve,weight=1,seed=1", "random"]


def test_a_random_cell_that_fails(world: World, tmp_path: Path) -> None:
    world.broken["retrain random"] = DivergenceError("the loss is nan")
    with pytest.raises(MLOError, match=r"4 of 12 points failed: random-0 \(the loss is nan\); random-1"):
        run(tmp_path)
    assert (tmp_path / "random-0" / "failure.txt").read_text() == "the loss is nan\n"
    assert [row["digits: test error % n"] for row in table(tmp_path / "table.csv")] == ["2", "2", "2", "2", ""]
    world.broken.clear()
    run(tmp_path)
    assert not (tmp_path / "random-0" / "failure.txt").exists()
    assert table(tmp_path / "table.csv")[-1]["digits: test error % n"] == "4"


def test_a_study_that_is_stopped_tells_what_it_has(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def until_fifth(jobs: Sequence[Job], console: Console, **_: Any) -> list[Any]:
        for job in jobs[:5]:
            job.function(*job.arguments, Silent())
        raise KeyboardInterrupt

    monkeypatch.setattr(local_module, "try_jobs", until_fifth)
    with pytest.raises(Stopped, match="stopped by Ctrl-C with 5 of 12 points finished"):
        run(tmp_path)
    counts = [row["digits: test error % n"] for row in table(tmp_path / "table.csv")]
    assert counts == ["1", "1", "1", "1", "1"], "a seed of everything"


def test_edges_that_two_cells_share() -> None:
    def cell(*edges: tuple[str, int]) -> Cell:
        return Cell(tuple(Edge(*edge) for edge in edges), (2,))

    skip, pool, conv = "skip_connect", "max_pool_3x3", "sep_conv_3x3"
    first = cell((skip, 0), (skip, 1), (pool, 0), (conv, 2))
    turned = cell((skip, 1), (skip, 0), (conv, 2), (conv, 0))
    assert shared_edges(Genotype(first, first), Genotype(turned, first)) == 3 + 4, "the order in a node says nothing"
    moved = cell((pool, 0), (conv, 1), (skip, 0), (skip, 1))
    assert shared_edges(Genotype(first, first), Genotype(moved, moved)) == 0, "another node is another edge"
    twice, once = cell((skip, 0), (skip, 0)), cell((skip, 0), (skip, 1))
    assert shared_edges(Genotype(twice, twice), Genotype(once, twice)) == 1 + 2


def test_how_alike_the_cells_are(world: World, tmp_path: Path) -> None:
    run(tmp_path)
    text = (tmp_path / "README.md").read_text()

    def line(name: str) -> list[str]:
        (found,) = [row for row in text.splitlines() if row.startswith(f"| {name} |") and " of 16" in row]
        return [part.strip() for part in found.strip("|").split("|")][1:]

    # Here a cell depends on the length of its folder's name alone, so both seeds have the same one.
    across = shared_edges(genotype(len("curve,weight=10,seed=0")), genotype(len("single,task=digits,seed=0")))
    assert line("curve, weight 10") == ["2", "single, task digits", f"{across}.0 of 16", "16.0 of 16"]
    assert line("single, task digits") == ["2", "-", "-", "16.0 of 16"]


def test_a_random_cell_is_really_trained(tmp_path: Path) -> None:
    """Nothing is made up, and it goes on where it was: here, at its end."""
    (point,) = [one for one in swept_points(replace(STUDY, seeds=(2,), random=1)) if one.cell is not None]
    for _ in range(2):
        run_point(point, tmp_path / point.name, Silent())
    (found,) = find_runs([tmp_path]).retrained
    assert (found.cell, found.search, found.settings["seeds"]) == ("random", None, [2000])
    drawn = random_genotype(TINY.supernet.space, torch.Generator().manual_seed(2))
    assert Genotype.from_json(found.genotype) == drawn
    assert [test.task for test in found.tests] == ["digits", "loops"]
    assert all(0 <= test.error <= 100 for test in found.tests)
