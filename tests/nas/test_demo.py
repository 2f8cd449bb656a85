"""The demo, as small as it can be: its folder, its equal budgets, and the words of its verdict."""

from __future__ import annotations

import io
import json
import pickle
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from applications.nas import demo as module
from applications.nas.config_file import from_json
from applications.nas.demo import DemoSettings, _notes, _plans, _verdict, demo
from applications.nas.formulations import gradients_per_step
from applications.nas.jobs import Job
from applications.nas.presets import RETRAIN, SEARCH
from applications.nas.progress import silent
from applications.nas.retrain import Training
from applications.nas.settings import (
    CifarForm,
    GradientSettings,
    Interleaving,
    SearchSettings,
    SingleTask,
    SupernetSettings,
)
from applications.nas.space.genotype import Genotype
from applications.nas.space.zoo import ZOO
from applications.nas.summary import Contender
from mlo import DataError

CELLS = ("interleaving", "single-task", "random")
TINY = DemoSettings(
    search=replace(
        SEARCH["digits"][1],
        supernet=SupernetSettings(nodes=1, primitives=("none", "skip_connect", "sep_conv_3x3"), channels=2, layers=3),
        gradient=GradientSettings("first"),
        epochs=1,
        batch=300,
        seed=5,
    ),
    retrain=replace(RETRAIN["digits"][1], network=CifarForm(2, 3), epochs=1, batch=300, seeds=(0,)),
    workers=2,
)


def here(jobs: Sequence[Job], console: Console, *, workers: int) -> list[Any]:
    """Do jobs in this process, with arguments as another would get them."""
    copies = [pickle.loads(pickle.dumps(job)) for job in jobs]
    return [job.function(*job.arguments, silent) for job in copies]


@pytest.fixture
def _in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting a process takes longer than its work here; that workers do the jobs is for `test_jobs` to show."""
    monkeypatch.setattr(module, "run_jobs", here)


@pytest.mark.usefixtures("_in_one_process")
def test_the_demo(tmp_path: Path) -> None:
    log = io.StringIO()
    settings = replace(TINY, out=tmp_path / "run")
    folder = demo(settings, Console(file=log, width=200))
    assert folder == tmp_path / "run"
    shown = log.getvalue()
    results = json.loads((folder / "results.json").read_text())
    assert [one["cell"] for one in results] == list(CELLS)
    for one in results:
        assert [(training["task"], training["seed"]) for training in one["trainings"]] == [("digits", 0), ("loops", 0)]
        assert all(0 <= training["error"] <= 100 for training in one["trainings"])
        assert all(f"{training['error']:.2f}" in shown for training in one["trainings"])
        cell = Genotype.from_json((folder / f"{one['cell']}.json").read_text())
        assert one["skips"] == cell.count("skip_connect")
    # First order: an interleaving step takes 6 gradients, a single-task step 2; 2 steps in an epoch.
    assert [one["search_gradients"] for one in results] == [12, 12, 0]
    for name, epochs in (("interleaving", 1), ("single-task", 3)):
        searched = from_json(SearchSettings, (folder / name / "config.json").read_text(), "there")
        assert (searched.epochs, searched.seed) == (epochs, 5)
        assert (folder / name / "genotype.json").read_text() == (folder / f"{name}.json").read_text()
    assert {path.name for path in (folder / "retrain" / "random").iterdir()} == {
        f"{task}-0.{end}" for task in ("digits", "loops") for end in ("csv", "pt")
    }
    files = {path.name for path in folder.iterdir() if path.is_file()}
    cells = {f"cell-{name}.{end}" for name in CELLS for end in ("svg", "png")} | {f"{name}.json" for name in CELLS}
    assert files == cells | {"README.md", "config.json", "environment.json", "results.json"}
    assert from_json(DemoSettings, (folder / "config.json").read_text(), "there") == settings
    text = (folder / "README.md").read_text()
    assert all(f"| {name} |" in text for name in CELLS)
    assert re.findall(r"\]\((.*)\)", text) == ["cell-interleaving.svg"]
    assert "with 1 seeds" not in text


@pytest.mark.parametrize("gradient", ["first", "difference", "exact"])
@pytest.mark.parametrize(("rounds", "epochs"), [(1, 1), (2, 1), (2, 7), (3, 10)])
def test_budgets_are_equal_to_within_an_epoch(rounds: int, epochs: int, gradient: str) -> None:
    form, rule = Interleaving(rounds=rounds), GradientSettings(gradient)  # type: ignore[arg-type]
    plans = _plans(replace(TINY, search=replace(TINY.search, formulation=form, gradient=rule, epochs=epochs)))
    tasks = {name: 2 if name == CELLS[0] else 1 for name in plans}
    costs = {name: gradients_per_step(plan.formulation, plan.rule, tasks[name]) for name, plan in plans.items()}
    budgets = {name: plan.epochs * costs[name] for name, plan in plans.items()}  # both have the same steps in an epoch
    assert abs(budgets[CELLS[0]] - budgets[CELLS[1]]) <= costs[CELLS[1]] / 2
    assert replace(plans[CELLS[1]], formulation=form, epochs=epochs) == plans[CELLS[0]], "else they are alike"
    assert plans[CELLS[1]].formulation == SingleTask()


MANY = 10**9  # test images enough for the counting error to play no part


def contenders(tested: int = MANY, **errors: list[float]) -> list[Contender]:
    return [
        Contender(name, ZOO["PDARTS"], 0, tuple(Training("t", i, e, 1, 0.0, tested) for i, e in enumerate(found)))
        for name, found in errors.items()
    ]


# Spreads: of [1, 2, 3] it is 1, of [5, 5, 5] it is 0; the largest counts, twice.
VERDICTS = [
    (
        {"a": [5.0, 6.0, 7.0], "b": [1.0, 2.0, 3.0], "c": [20.0, 20.0, 20.0]},
        f"t ({MANY} test images): mean error b 2.00, then a 6.00, then c 20.00; margin 2.00: "
        "b is ahead of all by more than that.",
    ),
    (
        {"a": [3.0, 4.0, 5.0], "b": [1.0, 2.0, 3.0], "c": [20.0, 20.0, 20.0]},
        f"t ({MANY} test images): mean error b 2.00, then a 4.00, then c 20.00; margin 2.00: "
        "b and a are not told apart.",
    ),
    (
        {"a": [5.0, 5.0, 5.0], "b": [5.0, 5.0, 5.0], "c": [6.0, 6.0, 6.0]},
        f"t ({MANY} test images): mean error a 5.00, then b 5.00, then c 6.00; margin 0.00: "
        "a and b are not told apart.",
    ),
    (
        {"a": [1.0, 2.0, 3.0], "b": [2.0, 3.0, 4.0], "c": [2.5, 3.5, 4.5]},
        f"t ({MANY} test images): mean error a 2.00, then b 3.00, then c 3.50; margin 2.00: all are within that, "
        "so no difference is shown.",
    ),
    (
        {"a": [5.0], "b": [1.0], "c": [20.0]},
        "t: mean error b 1.00, then a 5.00, then c 20.00; one retraining each has no spread, "
        "so no difference is shown.",
    ),
]


@pytest.mark.parametrize(("errors", "verdict"), VERDICTS)
def test_verdicts(errors: dict[str, list[float]], verdict: str) -> None:
    assert _verdict("t", contenders(**errors)) == verdict


def test_one_image_decides_nothing() -> None:
    # 100 images at 5 % have a counting error of 2.2 points, whatever the spread: 5 and 6 are not told apart.
    found = _verdict("t", contenders(tested=100, a=[5.0, 5.0], b=[6.0, 6.0]))
    assert found == (
        "t (100 test images): mean error a 5.00, then b 6.00; margin 4.36: all are within that, "
        "so no difference is shown."
    )


def test_notes_say_how_small_it_is() -> None:
    seen, first, second, budget, _ = _notes(DemoSettings(), contenders(a=[1.0, 2.0], b=[1.0, 2.0]))
    assert "2 nodes (DARTS has 4), 5 operations (8), 3 cells (8), C = 4 (16)" in first
    assert "test images" in seen
    assert "(seed 0)" in second
    assert "saw t alone, in 28 epochs against 10" in budget
    assert "3 seeds" in second


@pytest.mark.usefixtures("_in_one_process")
def test_a_demo_that_cannot_begin_leaves_nothing(tmp_path: Path) -> None:
    settings = replace(TINY, out=tmp_path / "run", search=replace(TINY.search, batch=10_000))
    with pytest.raises(DataError, match="a batch of 10000 images"):
        demo(settings, Console(file=io.StringIO()))
    assert not (tmp_path / "run").exists()
