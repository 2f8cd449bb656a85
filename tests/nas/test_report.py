"""Reports: which runs are pooled, what their spread is over, what is bold, and what is left out and why."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from applications.nas.report.quoted import PUBLISHED, read_quoted
from applications.nas.report.read import Found, find_runs
from applications.nas.report.table import Table, make_tables
from applications.nas.settings import Interleaving
from mlo import ConfigError
from tests.nas.made_runs import RETRAINED, SETTINGS, made_retraining, made_search


def tables(*paths: Path) -> dict[str, Table]:
    found = find_runs(paths)
    assert found.left_out == []
    return {table.task: table for table in make_tables(found.retrained, read_quoted(PUBLISHED))}


def one_search(root: Path, name: str, seed: int, errors: dict[str, list[float]], **changes: Any) -> Path:
    """Write a search and its retraining inside."""
    folder = made_search(root / name, replace(SETTINGS, seed=seed), seed=seed, **changes)
    made_retraining(folder / "retrain-1", errors, search=folder)
    return folder


# ---------------------------------------------------------------- what is pooled


def test_searches_that_differ_in_seed_alone_are_one_row(tmp_path: Path) -> None:
    one_search(tmp_path, "a", 0, {"cifar10": [3.0, 4.0]}, tasks=["cifar10"], seconds=86400.0)
    one_search(tmp_path, "b", 1, {"cifar10": [5.0, 6.0]}, tasks=["cifar10"], seconds=86400.0 * 3)
    (row,) = tables(tmp_path)["cifar10"].rows
    assert row.method == "IL-DARTS-2nd"
    assert (row.error.mean, row.error.deviation) == (4.5, pytest.approx(statistics.stdev([3.5, 5.5])))
    assert row.error.basis == "2 searches, 2 retrainings each"
    assert (row.days, row.device) == (2.0, "CPU")
    assert row.parameters == 3_300_000


def test_one_search_has_the_spread_of_its_retrainings(tmp_path: Path) -> None:
    one_search(tmp_path, "a", 0, {"digits": [3.0, 4.0, 8.0]}, device="NVIDIA X", devices=4, seconds=21600.0)
    (row,) = tables(tmp_path)["digits"].rows
    assert (row.error.mean, row.error.over) == (5.0, "retrainings")
    assert (row.days, row.device) == (1.0, "GPU"), "four devices for a quarter of a day"


def test_other_settings_are_another_row_that_says_which(tmp_path: Path) -> None:
    for weight in (1.0, 100.0):
        settings = replace(SETTINGS, formulation=Interleaving(weight=weight))
        folder = made_search(tmp_path / f"w{weight}", settings)
        made_retraining(folder / "retrain", {"digits": [weight / 10, weight / 10]}, search=folder)
    rows = tables(tmp_path)["digits"].rows
    assert [row.method for row in rows] == [
        "IL-DARTS-2nd (formulation.weight=1, c=0.05, rho=0.0476)",
        "IL-DARTS-2nd (formulation.weight=100, c=5, rho=0.833)",
    ]


def test_formulations_are_named_as_in_the_paper(tmp_path: Path) -> None:
    for number, (form, tasks) in enumerate(
        (("single", ["digits"]), ("multi", ["digits", "loops"]), ("interleaving", []))
    ):
        folder = made_search(tmp_path / form, formulation=form, tasks=tasks or ["digits", "loops"], method="P-DARTS")
        made_retraining(folder / "r", {"digits": [1.0 + number], "loops": [1.0 + number]}, search=folder)
    found = tables(tmp_path)
    assert [row.method for row in found["digits"].rows] == ["P-DARTS", "MTL-P-DARTS", "IL-P-DARTS"]
    assert next(iter(found["loops"].rows)).method == "P-DARTS (searched on digits)"


def test_random_cells_are_one_row_that_cost_no_search(tmp_path: Path) -> None:
    for number in range(3):
        made_retraining(
            tmp_path / str(number), {"digits": [float(number)] * 2}, cell="random", genotype=f"cell {number}"
        )
    made_retraining(tmp_path / "zoo", {"digits": [4.0, 5.0]}, cell="DARTS_V2")
    random, zoo = tables(tmp_path)["digits"].rows
    assert (random.method, random.error.basis) == ("random", "3 cells, 2 retrainings each")
    assert (random.days, zoo.days) == (0.0, None), "what a published cell cost is not known here"
    assert (zoo.method, zoo.error.basis) == ("DARTS_V2", "2 retrainings")


def test_a_repeated_training_counts_once(tmp_path: Path) -> None:
    folder = one_search(tmp_path, "a", 0, {"digits": [3.0, 5.0]})
    made_retraining(folder / "retrain-2", {"digits": [3.0, 5.0, 7.0]}, search=folder)
    again = one_search(tmp_path, "again", 0, {"digits": [3.0, 5.0]})
    table = tables(tmp_path, tmp_path / "a", again)["digits"]
    assert (table.rows[0].error.mean, table.rows[0].error.count) == (5.0, 3)
    assert any("4 left out" in note for note in table.notes)


def test_what_a_copied_search_cost_counts_once(tmp_path: Path) -> None:
    """A sweep copies what another one has finished, and a report reads both."""
    one_search(tmp_path, "a", 0, {"digits": [3.0]})
    second = one_search(tmp_path, "b", 1, {"digits": [4.0]})
    results = json.loads((second / "results.json").read_text())
    (second / "results.json").write_text(json.dumps(results | {"seconds": 4 * results["seconds"]}))
    once = tables(tmp_path)["digits"].rows[0].days
    one_search(tmp_path, "other/a", 0, {"digits": [3.0]})
    assert tables(tmp_path)["digits"].rows[0].days == once == pytest.approx(0.25)


def test_unequal_budgets_are_warned_of(tmp_path: Path) -> None:
    for epochs in (5, 50):
        folder = made_search(tmp_path / f"e{epochs}", replace(SETTINGS, seed=epochs), seed=epochs)
        made_retraining(
            folder / "r", {"digits": [float(epochs)]}, search=folder, settings=replace(RETRAINED, epochs=epochs)
        )
    table = tables(tmp_path)["digits"]
    assert [row.method for row in table.rows] == [f"IL-DARTS-2nd (retrain.epochs={epochs})" for epochs in (5, 50)]
    (note,) = [note for note in table.notes if note.startswith("Unequal budgets")]
    assert "IL-DARTS-2nd (retrain.epochs=5): retrain.epochs=5; IL-DARTS-2nd (retrain.epochs=50)" in note


def test_retrain_seeds_and_devices_are_no_other_budget(tmp_path: Path) -> None:
    for seed in (0, 1):
        folder = made_search(
            tmp_path / str(seed), replace(SETTINGS, seed=seed, device="cpu" if seed else "auto"), seed=seed
        )
        settings = replace(RETRAINED, seeds=(seed,), device="auto" if seed else "cpu")
        made_retraining(folder / "r", {"digits": [1.0]}, search=folder, settings=settings)
    table = tables(tmp_path)["digits"]
    assert len(table.rows) == 1
    assert not any("Unequal" in note for note in table.notes)


def test_another_metric(tmp_path: Path) -> None:
    made_retraining(tmp_path / "a", {"depth": [0.5, 0.7]}, metric="RMSE")
    made_retraining(tmp_path / "b", {"depth": [3.0, 3.2]}, metric="error %", cell="other")
    found = make_tables(find_runs([tmp_path]).retrained, read_quoted(PUBLISHED))
    assert [(table.task, table.metric, len(table.rows)) for table in found] == [
        ("depth", "RMSE", 1),
        ("depth", "error %", 1),
    ]


# ---------------------------------------------------------------- what is bold


@pytest.mark.parametrize(
    ("errors", "best"),
    [
        ({"a": [1.0, 2.0], "b": [20.0, 21.0]}, {0}),
        ({"a": [1.0, 2.0], "b": [2.0, 3.0], "c": [20.0, 21.0]}, {0, 1}),
        ({"a": [1.0, 2.0], "b": [2.0, 3.0]}, set()),
        ({"a": [1.0], "b": [20.0, 21.0]}, set()),
        ({"a": [1.0, 2.0]}, set()),
    ],
)
def test_what_the_spread_does_not_tell_apart_is_not_called_better(
    errors: dict[str, list[float]], best: set[int], tmp_path: Path
) -> None:
    for name, values in errors.items():
        made_retraining(tmp_path / name, {"digits": values}, cell=name)
    table = tables(tmp_path)["digits"]
    assert table.best == best
    assert [row.method for row in table.rows] == sorted(errors)
    assert sum("bold" in note.lower() for note in table.notes) == (len(errors) > 1)


def test_quoted_rows_take_no_part(tmp_path: Path) -> None:
    made_retraining(tmp_path / "a", {"cifar10": [50.0, 51.0], "cifar100": [1.0]}, cell="bad")
    made_retraining(tmp_path / "b", {"cifar10": [90.0, 91.0]}, cell="worse")
    table = tables(tmp_path)["cifar10"]
    assert [row.method for row in table.rows] == ["bad", "worse"]
    assert table.best == {0}, "although every quoted row is smaller"
    assert {row.method for row in table.quoted} >= {"DARTS-1st", "DARTS-2nd", "PC-DARTS", "IL-DARTS2nd"}
    assert {row.table for row in table.quoted} == {"CIFAR-10"}
    assert any(note.startswith("† Quoted from the source") for note in table.notes)


# ---------------------------------------------------------------- what is left out


def reasons(found: Found, root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): reason for path, reason in found.left_out}


def test_what_is_not_finished_or_broken_is_named(tmp_path: Path) -> None:
    good = one_search(tmp_path, "good", 0, {"digits": [1.0]})
    for name, file in (("unfinished", "results.json"), ("no-config", "config.json")):
        (made_search(tmp_path / name) / file).unlink()
    (made_retraining(tmp_path / "half", {"digits": [1.0]}) / "results.json").unlink()
    (made_search(tmp_path / "cut") / "results.json").write_text('{"kind": "sea')
    (made_search(tmp_path / "binary") / "results.json").write_bytes(b"\xff\xfe\x00")
    (made_search(tmp_path / "list") / "results.json").write_text("[]")
    (made_search(tmp_path / "failed") / "failure.txt").write_text("the loss is nan\n\nTraceback")
    made_search(tmp_path / "older", method=None)
    made_retraining(tmp_path / "nan", {"digits": [math.nan]})
    made_retraining(tmp_path / "empty", {})
    (tmp_path / "nothing").mkdir()
    found = find_runs([tmp_path, tmp_path / "nothing"])
    assert [run.folder for run in found.retrained] == [good / "retrain-1"]
    told = reasons(found, tmp_path)
    expected = {
        "unfinished": "the search has not finished",
        "no-config": "cannot be read",
        "half": "the retraining has not finished",
        "cut": "is not JSON",
        "binary": "cannot be read as text",
        "list": "no JSON object",
        "failed": "it failed: the loss is nan",
        "older": "'method' is None, not of type str",
        "nan": "'error' is nan, not a finite number",
        "empty": "lists no training",
        "nothing": "there is no run in it",
    }
    assert told.keys() == expected.keys()
    assert [name for name, text in expected.items() if text not in told[name]] == []


def test_a_path_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere is no folder"):
        find_runs([tmp_path / "nowhere"])


def test_a_retraining_whose_search_is_gone(tmp_path: Path) -> None:
    folder = one_search(tmp_path, "a", 0, {"digits": [1.0]})
    retrained = (folder / "retrain-1").rename(tmp_path / "moved")
    (run,) = find_runs([retrained]).retrained
    assert run.search is None
    assert "cannot be read" in run.lost
    (row,) = make_tables([run], [])[0].rows
    assert (row.method, row.days) == ("mine", None)


def test_a_demo(tmp_path: Path) -> None:
    """The demo's results hold all its cells; its retrainings below are not counted again."""
    made_search(tmp_path / "interleaving")
    made_search(tmp_path / "single-task", formulation="single", tasks=["digits"])
    content = []
    for number, name in enumerate(("interleaving", "single-task", "random")):
        place = made_retraining(tmp_path / "retrain" / name, {"digits": [1.0 + number, 2.0 + number]}, cell=name)
        content.append(json.loads((place / "results.json").read_text()) | {"search_gradients": 1})
        (tmp_path / f"{name}.json").write_text(name)
        for training in content[-1]["trainings"]:
            del training["metric"]  # as it was written before tasks had metrics
    (tmp_path / "results.json").write_text(json.dumps(content))
    (tmp_path / "config.json").write_text(json.dumps({"kind": "DemoSettings", "retrain": {"epochs": 5}}))
    (row, single, random) = tables(tmp_path)["digits"].rows
    assert [one.method for one in (row, single, random)] == ["IL-DARTS-2nd", "DARTS-2nd", "random"]
    assert [one.error.count for one in (row, single, random)] == [2, 2, 2]
    assert random.days == 0.0
    assert row.settings["retrain.epochs"] == "5"
    assert row.settings["retrain.smoothing"] == "0", "what is new since it ran has its default"
