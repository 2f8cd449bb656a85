"""The seam between methods and searches: every method with every formulation, and a method made outside."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

import mlo
from applications.nas.cli import main
from applications.nas.config_file import from_json, to_json
from applications.nas.formulations import ARCHITECTURE, gradients_per_step
from applications.nas.methods import AbstractMethod, Darts, PCDarts, PDarts, Progress, known_methods, plugins
from applications.nas.search import record as search_record
from applications.nas.search import search, stage_gradients
from applications.nas.search.checkpoint import read_checkpoint
from applications.nas.settings import (
    ArchitectureSettings,
    DigitsData,
    Formulation,
    GradientSettings,
    Interleaving,
    MultiTask,
    SearchSettings,
    SingleTask,
    SupernetSettings,
)
from applications.nas.space.cell import CellSpace
from applications.nas.space.genotype import Genotype

SETTINGS = SearchSettings(
    formulation=SingleTask(),
    supernet=SupernetSettings(
        nodes=1, primitives=("none", "skip_connect", "dil_conv_3x3", "max_pool_3x3"), channels=4, layers=3
    ),
    architecture=ArchitectureSettings(lr=0.02),
    epochs=3,
    batch=256,  # of 312 images: two steps an epoch
    device="cpu",
)
METHODS = [Darts(), PDarts(deeper=(0, 1), kept=(1.0, 0.75), dropout=(0.1, 0.4), skips=1), PCDarts()]
FORMS: list[Formulation] = [SingleTask(), MultiTask(), Interleaving(weight=20.0)]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_record, "draw_search", lambda *_: ([], []))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.title)
def test_all_nine_combinations(method: AbstractMethod, form: Formulation, tmp_path: Path) -> None:
    settings = replace(SETTINGS, method=method, formulation=form)
    outcome = search(settings, tmp_path)
    stages = settings.stages()
    history = json.loads((tmp_path / "genotypes.json").read_text())
    assert [(entry["stage"], entry["epoch"]) for entry in history] == [
        (number + 1, epoch + 1) for number in range(len(stages)) for epoch in range(3)
    ]
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == outcome.steps == 2 * 3 * len(stages)
    for row in rows:  # the architecture rests in the warm-up, and has no loss then
        resting = int(float(row["epoch"])) <= stages[0].warm_up
        assert (row[f"loss/{ARCHITECTURE}"] == "") == resting
    tasks = 1 if isinstance(form, SingleTask) else 2
    assert outcome.gradients == sum(stage_gradients(settings, stage, tasks, 2) for stage in stages)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["method"] == {"DARTS": "DARTS-2nd"}.get(method.title, method.title)
    assert results["formulation"] == {"SingleTask": "single", "MultiTask": "multi"}.get(
        type(form).__name__, "interleaving"
    )
    assert from_json(SearchSettings, (tmp_path / "config.json").read_text(), "here") == settings.resolved()


def test_a_classifier_is_interleaved_with_tasks_that_are_none(tmp_path: Path) -> None:
    """Heads, losses and batch sizes of their own; one encoder, held by the proximal term, and one architecture."""
    data = DigitsData(tasks=("digits", "slant", "denoise"))
    settings = replace(SETTINGS, data=data, batches=(110, 40, 52), formulation=Interleaving(weight=20.0), epochs=1)
    settings = replace(settings, gradient=GradientSettings("first"))
    assert search(settings, tmp_path).steps == 2, "the first task's 209 images by 110"
    supernets = read_checkpoint(tmp_path).supernets
    keys = {
        name: next(key for key in ("head.weight", "head.map.weight") if key in supernets[name]) for name in supernets
    }
    heads = {name: list(supernets[name][key].shape) for name, key in keys.items()}
    assert heads == {
        name: shape
        for task, shape in (("digits", [10, 16]), ("slant", [1, 16]), ("denoise", [1, 16, 1, 1]))
        for name, shape in ((f"{task}@1", shape), (f"{task}@2", shape))
    }
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert all(f"loss/{name}" in rows[0] for name in heads)


@pytest.mark.parametrize("rule", ["first", "difference", "exact"])
@pytest.mark.parametrize("method", METHODS[1:], ids=lambda method: method.title)
def test_any_method_takes_any_gradient(method: AbstractMethod, rule: str, tmp_path: Path) -> None:
    settings = replace(SETTINGS, method=method, gradient=GradientSettings(rule), epochs=2)  # type: ignore[arg-type]
    search(settings, tmp_path)
    title = json.loads((tmp_path / "results.json").read_text())["method"]
    assert title == (method.title if rule == "first" else f"{method.title}, second order")


def test_every_stage_begins_anew_in_what_the_one_before_has_left(tmp_path: Path) -> None:
    search(replace(SETTINGS, method=METHODS[1]), tmp_path)
    history = json.loads((tmp_path / "genotypes.json").read_text())
    widths = [len(entry["alphas"]["normal"][0]) for entry in history]
    assert widths == [4, 4, 4, 3, 3, 3]
    for entry in (history[0], history[3]):  # warm-up: still where they were drawn
        assert max(abs(value) for row in entry["alphas"]["normal"] for value in row) < 6e-3


# ---------------------------------------------------------------- a method of one's own


@dataclass(frozen=True)
class Sigmoid(AbstractMethod):
    """Operations that do not compete: each has a gate of its own. Ends once the normal cell repeats."""

    title: ClassVar[str] = "Sigmoid"

    sharpness: float = 1.0

    def relax(self, variables: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        return {name: (self.sharpness * table).sigmoid() for name, table in variables.items()}

    def stop(self, history: Sequence[Genotype]) -> str | None:
        return "the normal cell repeats" if len(history) > 1 and history[-1].normal == history[-2].normal else None


def test_a_method_of_ones_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = replace(SETTINGS, method=Sigmoid(2.0), architecture=ArchitectureSettings(lr=1e-6))
    with caplog.at_level("WARNING"):
        outcome = search(settings, tmp_path)
    assert outcome.steps == 4, "two of three epochs"
    assert "ends after epoch 2: the normal cell repeats" in caplog.text
    assert from_json(SearchSettings, to_json(settings), "here") == settings
    assert known_methods()["sigmoid"] is Sigmoid


def test_the_command_line_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--batch", "256", "--epochs", "1", "--supernet.nodes", "1", "--gradient.rule", "first"]
    assert main(["search", "digits", "method:sigmoid", "--method.sharpness", "3", *words, "formulation:single"]) == 0
    config = json.loads((tmp_path / "runs" / "digits-1" / "config.json").read_text())
    assert config["method"] == {"kind": "Sigmoid", "sharpness": 3.0}


@pytest.mark.parametrize(
    ("value", "code", "told"),
    [
        ("os", 0, ""),
        ("nowhere.at.all", 2, "method plug-in 'mine' (nowhere.at.all) cannot be imported (No module named 'nowhere')"),
    ],
)
def test_methods_of_other_packages(
    value: str, code: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = EntryPoint(name="mine", value=value, group=plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [found] if group == "mlo_nas.methods" else [])
    assert main(["search", "--help"]) == code
    assert told in capsys.readouterr().err


def test_an_unknown_method_is_refused_by_name() -> None:
    with pytest.raises(
        mlo.ConfigError,
        match=r"method: needs a key 'kind', one of .*Darts.*got 'Nope': a class of your own has to be imported",
    ):
        from_json(SearchSettings, '{"method": {"kind": "Nope"}}', "here")


# ---------------------------------------------------------------- hooks


@dataclass(frozen=True)
class Split(AbstractMethod):
    """Relaxes differently for weights and for the architecture, and notes when it is asked."""

    title: ClassVar[str] = "Split"
    asked: ClassVar[list[tuple[str, Progress]]] = []

    def relax(self, variables: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        self.asked.append(("architecture", progress))
        return {name: table.softmax(-1) for name, table in variables.items()}

    def relax_for_weights(self, variables: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        self.asked.append(("weights", progress))
        return {name: torch.ones_like(table) / table.shape[1] + 0.0 * table for name, table in variables.items()}


def test_weights_and_architecture_have_relaxations_of_their_own(tmp_path: Path) -> None:
    Split.asked.clear()
    search(replace(SETTINGS, method=Split(), batch=312, epochs=2), tmp_path)  # one step an epoch
    by_epoch = [[kind for kind, place in Split.asked if place.epoch == epoch] for epoch in (0, 1)]
    assert all(kinds[:2] == ["weights", "architecture"] for kinds in by_epoch)


def test_one_hot_tables_compute_the_genotype_alone() -> None:
    space = CellSpace(nodes=2)
    for method in METHODS:
        drawn = method.initial(space, torch.Generator().manual_seed(2))
        genotype = method.derive(drawn, space, Progress(0, 0, 1))
        tables = method.discretize(genotype, space)
        mixing = method.relax(drawn, Progress(0, 0, 1))
        assert {name: table.shape for name, table in tables.items()} == {n: t.shape for n, t in mixing.items()}
        assert [int(table[:, :8].sum()) for table in tables.values()] == [4, 4], "two edges a node"


def test_gradients_of_frozen_steps() -> None:
    forms = [(SingleTask(), 1, 1), (MultiTask(), 2, 2), (Interleaving(rounds=3), 2, 6)]
    assert [gradients_per_step(form, "difference", k, frozen=True) for form, k, _ in forms] == [n for *_, n in forms]
