"""Rows of a report: which runs share one, and that no two have the same name."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

from applications.nas.config_file import to_json
from applications.nas.report.evidence_csv import comparisons_csv
from applications.nas.report.evidence_sheets import sheets
from applications.nas.report.read import find_runs
from applications.nas.report.rows import Row
from applications.nas.report.table import make_tables
from applications.nas.settings import (
    CosineSchedule,
    ExponentialSchedule,
    FolderData,
    Interleaving,
    MultiTask,
    RetrainData,
    SingleTask,
)
from tests.nas.made_runs import RETRAINED, SETTINGS, made_retraining, made_search
from tests.nas.made_studies import BETTER, TASKS, made, weighed


def rows_of(root: Path) -> tuple[Row, ...]:
    found = find_runs([root])
    assert found.left_out == []
    (table,) = make_tables(found.retrained, [])
    return table.rows


def one_search(folder: Path, seed: int) -> None:
    made_search(folder, replace(SETTINGS, seed=seed), seed=seed)
    made_retraining(folder / "r", {"digits": [1.0 + seed]}, search=folder)


def forget(file: Path, *paths: tuple[str, ...]) -> None:
    """Take settings from a file of them, as if it were from before there were any."""
    content = json.loads(file.read_text())
    for *above, last in paths:
        place = content
        for name in above:
            place = place[name]
        del place[last]
    file.write_text(json.dumps(content))


FORMS = [
    Interleaving(rounds=1, weight=10.0),
    *(Interleaving(weight=20.0, order=order) for order in (("a", "b"), ("b", "a"))),
    *(Interleaving(weight=20.0, start=start, updates=3) for start in ("persistent", "previous")),
    Interleaving(rounds=1, weight=10.0, form="explicit"),
]
"""Interleavings of several studies: the first four settings in which they differ do not tell all of them apart."""


def test_rows_that_differ_in_many_settings_have_names_of_their_own(tmp_path: Path) -> None:
    """Four settings are named, and those that tell apart what would be called the same."""
    for number, form in enumerate(FORMS):
        made(tmp_path, form, {0: [1.0 + number]})
    names = [row.method for row in rows_of(tmp_path)]
    start = "IL-DARTS-2nd (formulation.rounds=2, formulation.weight=20, c=1, rho=0.5, formulation.form=implicit, "
    assert names[1:5] == [
        f"{start}formulation.start=persistent and 2 more settings; formulation.updates=1, formulation.order=a,b)",
        f"{start}formulation.start=persistent and 2 more settings; formulation.updates=1, formulation.order=b,a)",
        f"{start}formulation.start=persistent and 2 more settings; formulation.updates=3, formulation.order=)",
        f"{start}formulation.start=previous and 2 more settings)",
    ]
    assert len(set(names)) == len(FORMS)


def test_every_row_of_a_name_is_compared_and_judged(tmp_path: Path) -> None:
    """Also rows that several studies have left."""
    for number, form in enumerate(FORMS):
        made(tmp_path, form, {0: [30.0 + number], 1: [33.0 - number]})
    made(tmp_path, SingleTask("cifar10-mini"), {0: [31.0], 1: [35.5]}, tasks=TASKS[1:])
    made(tmp_path, MultiTask(), {0: [31.0], 1: [33.5]})
    evidence = weighed(tmp_path, [BETTER])
    assert len(evidence.comparisons) == 2 * len(FORMS)
    assert len(evidence.verdicts) == len(FORMS)
    lines = list(csv.DictReader(comparisons_csv(evidence).splitlines()))
    assert len({(line["method"], line["rival"]) for line in lines}) == 2 * len(FORMS)
    compared, judged = sheets(evidence)
    assert len({row[:2] for row in compared.rows}) == 2 * len(FORMS)
    assert len({row[1] for row in judged.rows}) == len(FORMS)


def test_rows_of_one_kind_beside_another_kind_have_names_of_their_own(tmp_path: Path) -> None:
    """That the kind differs says enough of the third row alone."""
    for number, weights in enumerate((CosineSchedule(), ExponentialSchedule(), ExponentialSchedule(factor=0.5))):
        settings = replace(RETRAINED, schedule=weights)
        made_retraining(tmp_path / str(number), {"digits": [float(number)]}, settings=settings)
    assert len({row.method for row in rows_of(tmp_path)}) == 3


def test_runs_from_before_a_setting_share_the_row_of_new_ones(tmp_path: Path) -> None:
    """A setting that is new since has its default in what was written before."""
    for seed in (0, 1):
        one_search(tmp_path / str(seed), seed)
        made_retraining(tmp_path / f"r{seed}", {"digits": [4.0 + seed]}, cell="random", genotype=str(seed))
        data = RetrainData(FolderData(roots=(Path("a"), Path("b"))), seed)
        (tmp_path / f"r{seed}" / "data.json").write_text(to_json(data))
    forget(tmp_path / "0" / "config.json", ("formulation", "start"), ("formulation", "updates"))
    forget(tmp_path / "0" / "r" / "config.json", ("deterministic",), ("checkpoint",))
    forget(tmp_path / "r0" / "config.json", ("smoothing",))
    forget(tmp_path / "r0" / "data.json", ("data", "side"))
    searched, random = rows_of(tmp_path)
    assert (searched.method, searched.error.count, searched.settings["formulation.start"]) == (
        "IL-DARTS-2nd",
        2,
        "persistent",
    )
    assert (random.method, random.error.count) == ("random", 2)


def test_settings_that_this_version_does_not_know_are_kept(tmp_path: Path) -> None:
    """Such as those of a method that is not imported."""
    for seed, unknown in enumerate((1, 1, 2)):
        one_search(tmp_path / str(seed), seed)
        file = tmp_path / str(seed) / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"method": {"kind": "Mine", "heat": unknown}}))
    rows = rows_of(tmp_path)
    assert [(row.method, row.error.count) for row in rows] == [
        ("IL-DARTS-2nd (method.heat=1)", 2),
        ("IL-DARTS-2nd (method.heat=2)", 1),
    ]
