"""Small searches from settings to a folder: what is in it, that it repeats, and what is left of one that fails."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mlo
from applications.nas.config_file import from_json
from applications.nas.formulations import gradients_per_step
from applications.nas.methods import AbstractMethod, Darts, PDarts, Progress
from applications.nas.methods.base import initial_alphas
from applications.nas.search import SearchOutcome, search
from applications.nas.search import record as module
from applications.nas.search.words import describe_formulation
from applications.nas.settings import (
    ArchitectureSettings,
    CifarData,
    DigitsData,
    FolderData,
    Formulation,
    GradientSettings,
    Interleaving,
    MultiTask,
    SearchSettings,
    SingleTask,
    SupernetSettings,
    WeightSettings,
)
from applications.nas.space.genotype import Genotype
from applications.nas.tasks import load_tasks, located

SETTINGS = SearchSettings(
    supernet=SupernetSettings(nodes=1, primitives=("none", "skip_connect", "dil_conv_3x3"), channels=2, layers=3),
    gradient=GradientSettings("first"),
    formulation=SingleTask(),
    architecture=ArchitectureSettings(lr=0.02),
    epochs=1,
    batch=150,  # digits has 314 images to train on: two batches of 150 and one of 14
    device="cpu",
)
STEPS = 3
FORMS = [SingleTask(), SingleTask(task="loops"), MultiTask(), Interleaving()]


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures have tests of their own, and take most of the time of so small a search."""
    monkeypatch.setattr(module, "draw_search", lambda *_: ([], []))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_that_the_readme_names_is_there(tmp_path: Path) -> None:
    search(SETTINGS, tmp_path / "run")
    text = (tmp_path / "run" / "README.md").read_text()
    named = set(re.findall(r"\b\w+\.(?:json|csv|svg|mmd|gif|html|pt)\b", text))
    assert {"config.json", "splits.json", "evolution.gif", "index.html", "graph.svg"} <= named
    found = {path.name for path in (tmp_path / "run").iterdir()}
    pictures = {name.replace(".svg", ".png") for name in named if name.endswith(".svg")}
    assert found == {*named, *pictures, "README.md", "tensorboard"}
    assert not any(name.startswith(".") for name in found), "no file is left half-written"


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("gradient", ["first", "difference", "exact"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_what_a_search_writes(form: Formulation, gradient: str, tmp_path: Path) -> None:
    settings = replace(SETTINGS, formulation=form, gradient=GradientSettings(gradient))  # type: ignore[arg-type]
    ticks: list[tuple[int, int]] = []
    outcome = search(settings, tmp_path, lambda done, total, _: ticks.append((done, total)))
    assert ticks == [(done, STEPS) for done in range(STEPS + 1)]
    found = rows(tmp_path)
    assert [float(row["step"]) for row in found] == [1, 2, 3]
    assert {row["epoch"] for row in found} == {"1.0"}
    assert {row["lr"] for row in found} == {"0.025"}
    names = {
        "SingleTask": ["architecture", getattr(form, "task", "") or "digits"],
        "MultiTask": ["architecture", "digits", "loops"],
        "Interleaving": ["architecture", "digits@1", "loops@1", "digits@2", "loops@2"],
    }[type(form).__name__]
    for kind in ("loss", "gradient"):
        assert {column for column in found[0] if column.startswith(kind)} == {f"{kind}/{name}" for name in names}
    assert all(
        0 < float(row[f"{kind}/{name}"]) < 100 for row in found for name in names for kind in ("loss", "gradient")
    )
    assert from_json(SearchSettings, (tmp_path / "config.json").read_text(), "config") == settings
    alphas = {name: torch.tensor(table) for name, table in json.loads((tmp_path / "alphas.json").read_text()).items()}
    genotype = Genotype.from_json((tmp_path / "genotype.json").read_text())
    assert genotype == outcome.genotype == Darts().derive(alphas, settings.supernet.space, Progress(0, 0, 1))
    start = initial_alphas(settings.supernet.space, torch.Generator().manual_seed(settings.seed))
    # Adam's first step has the length of its learning rate, 0.02; later ones may lead back a part of the way.
    assert all(float((alphas[name] - start[name]).abs().max()) > 0.005 for name in start)
    history = json.loads((tmp_path / "genotypes.json").read_text())
    assert [entry["epoch"] for entry in history] == [1]
    assert history[0]["cell"] == str(genotype)
    assert sum(history[0]["skips"].values()) == str(genotype).count("skip_connect")
    tasks = 1 if isinstance(form, SingleTask) else 2
    cost = STEPS * gradients_per_step(form, settings.rule, tasks)
    taken = json.loads((tmp_path / "results.json").read_text())
    assert (taken["steps"], taken["gradients"]) == (outcome.steps, outcome.gradients) == (STEPS, cost)
    assert f"{STEPS} steps, {cost} gradients" in (tmp_path / "README.md").read_text()


@pytest.mark.usefixtures("no_pictures")
def test_the_strength_of_interleaving_is_told(tmp_path: Path) -> None:
    settings = replace(SETTINGS, formulation=Interleaving(weight=20.0))
    search(settings, tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "over 2 rounds: lambda = 20, so c = 2 lr lambda = 1 and rho = 0.5 at the start" in text
    assert "implicit proximal step" in text
    rising = describe_formulation(replace(settings, weights=WeightSettings(warm_up=2)), ["digits", "loops"])
    assert "c = 2 lr lambda = 1 and rho = 0.5 after the warm-up" in rising


DROPPED = PDarts(deeper=(0,), kept=(1.0,), dropout=(0.5,), warm_up=0.0)
"""Its dropout draws from the global generator while the search runs."""


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("method", [Darts(), DROPPED], ids=["darts", "dropout"])
def test_a_seed_fixes_everything(method: AbstractMethod, tmp_path: Path) -> None:
    settings = replace(SETTINGS, formulation=Interleaving(), method=method)

    def outcome(name: str, seed: int) -> tuple[str, str, str]:
        torch.rand(len(name))  # whatever was drawn before has no influence
        before = torch.get_rng_state()
        search(replace(settings, seed=seed), tmp_path / name)
        assert torch.equal(torch.get_rng_state(), before), "the global generator is left alone"
        files = ("metrics.csv", "genotype.json", "alphas.json")
        return tuple((tmp_path / name / file).read_text() for file in files)  # type: ignore[return-value]

    first = outcome("first", 3)
    assert outcome("again", 3) == first
    other = outcome("other", 4)
    assert other[0] != first[0]
    assert other[2] != first[2]


@pytest.mark.usefixtures("no_pictures")
def test_a_search_that_diverges_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = mlo.Engine.step

    def failing(engine: mlo.Engine, *, frozen: bool) -> mlo.Report:
        if engine.step_count == STEPS + 1:
            raise mlo.DivergenceError("the loss of problem 'digits' is nan")
        return step(engine, frozen=frozen)

    monkeypatch.setattr(mlo.Engine, "step", failing)
    with pytest.raises(mlo.DivergenceError, match="is nan"):
        search(replace(SETTINGS, epochs=2), tmp_path)
    assert len(rows(tmp_path)) == STEPS + 1
    assert len(json.loads((tmp_path / "genotypes.json").read_text())) == 1
    assert not (tmp_path / "genotype.json").exists()
    assert not (tmp_path / "results.json").exists()


def test_a_huge_learning_rate_is_found_out(tmp_path: Path) -> None:
    settings = replace(SETTINGS, weights=replace(SETTINGS.weights, lr=1e30), formulation=MultiTask())
    with pytest.raises(mlo.DivergenceError, match=r"nan|finite") as caught:
        search(settings, tmp_path)
    assert "in outer step" in "".join(caught.value.__notes__)
    assert not (tmp_path / "genotype.json").exists()


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(("form", "looks_ahead"), [(MultiTask(), True), (Interleaving(), False)], ids=str)
def test_statistics_of_supernets_stay_finite(
    form: Formulation, looks_ahead: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[mlo.Engine] = []
    step = mlo.Engine.step
    monkeypatch.setattr(
        mlo.Engine, "step", lambda engine, **options: (engines.append(engine), step(engine, **options))[1]
    )
    search(replace(SETTINGS, formulation=form, gradient=GradientSettings("exact")), tmp_path)
    engine = engines[0]
    assert engine.look_ahead == looks_ahead
    for name in engine.graph.names[1:]:
        network = engine.export(name)
        means = [value for key, value in network.named_buffers() if key.endswith("running_mean")]
        assert means
        assert all(bool(torch.isfinite(value).all()) for value in network.buffers())
        assert any(float(value.abs().max()) > 0 for value in means), "statistics are taken"
        tracked = [value for key, value in network.named_buffers() if key.endswith("num_batches_tracked")]
        counts = {int(one) for value in tracked for one in value.flatten()}
        assert counts == {STEPS}, "one real forward pass a step; looking ahead leaves them alone"


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ({"batch": 400}, "a batch of 400 images"),
        ({"formulation": SingleTask(task="nope")}, "'nope'.*digits, loops"),
        ({"supernet": replace(SETTINGS.supernet, layers=12, channels=0)}, "channels=0"),
        ({"formulation": Interleaving(form="explicit")}, r"c = 2\*eta\*lambda"),
        (  # stable in the first epoch of the warm-up, not in the second
            {
                "formulation": Interleaving(weight=60.0, form="explicit"),
                "weights": WeightSettings(warm_up=2),
                "epochs": 2,
            },
            r"0.025\*60 = 3",
        ),
        ({"data": FolderData()}, "--data.roots"),
        ({"data": FolderData(roots=(Path("/nowhere"),))}, "/nowhere: no such folder"),
        ({"data": CifarData(root=Path("/nowhere"))}, "/nowhere"),
    ],
)
def test_a_request_that_cannot_be_met_writes_nothing(change: dict[str, object], culprit: str, tmp_path: Path) -> None:
    with pytest.raises(mlo.MLOError, match=culprit):
        search(replace(SETTINGS, **change), tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_data_are_written_down_with_their_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert located(FolderData(roots=(Path("a"),), side=8)) == FolderData(roots=(tmp_path / "a",), side=8)
    assert located(CifarData()) == CifarData(root=tmp_path / "data")
    assert located(DigitsData()) == DigitsData()
    assert [task.name for task in load_tasks(DigitsData(), 0)] == ["digits", "loops"]


def test_an_outcome_is_plain_data() -> None:
    space = SETTINGS.supernet.space
    genotype = Darts().derive(initial_alphas(space, torch.Generator()), space, Progress(0, 0, 1))
    assert SearchOutcome(genotype, 1, 2, 3.0) == SearchOutcome(genotype, 1, 2, 3.0)
