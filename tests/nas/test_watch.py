"""Watching a search: right numbers, and not one bit of the search changed."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import mlo
from applications.nas.data import Batches, Images
from applications.nas.formulations import ARCHITECTURE, build_graph, validation_of
from applications.nas.methods import AbstractMethod, Darts, PCDarts, PDarts, Progress
from applications.nas.progress import silent
from applications.nas.run_folder import RunLog
from applications.nas.search import record as module
from applications.nas.search import search
from applications.nas.search.epoch import Epoch
from applications.nas.settings import (
    Formulation,
    Interleaving,
    MultiTask,
    SearchSettings,
    SingleTask,
    WatchSettings,
)
from applications.nas.space.cell import CellSpace
from applications.nas.space.genotype import Genotype
from applications.nas.watch import Alarms, Sight, Watch, first_batch
from tests.nas.test_search import SETTINGS
from tests.nas.tiny import ALPHAS, SPACE, learner, setup

PLACE = Progress(0, 0, 4)
ALL = WatchSettings(eigenvalue=1)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "draw_search", lambda *_: ([], []))


def scene(form: Formulation, alphas: Mapping[str, Tensor] = ALPHAS) -> tuple[Watch, mlo.Engine, tuple, Genotype]:  # type: ignore[type-arg]
    """An engine after one step, and what watches it."""
    settings = replace(setup(form), watch=ALL)
    learners = (learner("a", 3), learner("b", 2, weight=2.0))[: 1 if isinstance(form, SingleTask) else 2]
    engine = mlo.Engine(build_graph(learners, alphas, settings))
    list(engine.run(1))
    watch = Watch(settings, [one.valid[0] for one in learners])
    return watch, engine, learners, Darts().derive(engine.values[ARCHITECTURE], SPACE, PLACE)


@pytest.mark.parametrize("form", [SingleTask(), MultiTask(shares=(1.0, 3.0)), Interleaving()], ids=str)
def test_the_gap_is_that_of_the_losses(form: Formulation) -> None:
    """Both losses again by hand: one learner after the other, on the weights that are validated."""
    watch, engine, learners, genotype = scene(form)
    names = [one.name + ("@2" if isinstance(form, Interleaving) else "") for one in learners]
    shares = {"SingleTask": [1.0], "MultiTask": [1.0, 6.0], "Interleaving": [1.0, 2.0]}[type(form).__name__]
    tables = [Darts().discretize(genotype, SPACE), Darts().relax(engine.values[ARCHITECTURE], PLACE)]
    sums = []
    for weights in tables:
        doubled = {name: table.double() for name, table in weights.items()}
        parts = zip(names, shares, learners, strict=True)
        sums.append(
            sum(
                share * cross_entropy(engine.export(name)(one.valid[0][0], doubled), one.valid[0][1]).item()
                for name, share, one in parts
            )
        )
    found = watch.look(engine, learners, SPACE, PLACE, genotype)
    assert found.gap == pytest.approx(sums[0] - sums[1], rel=1e-9)
    assert abs(sums[0] - sums[1]) > 1e-3


def test_a_mixture_that_is_a_cell_already_has_no_gap() -> None:
    watch, engine, learners, _ = scene(SingleTask())
    sure = {name: torch.zeros_like(table) for name, table in ALPHAS.items()}
    for table in sure.values():
        table[:, 2] = 60.0  # softmax: the others weigh e-60, below rounding
    graph = build_graph(learners, sure, replace(setup(SingleTask()), watch=ALL))
    genotype = Darts().derive(sure, SPACE, PLACE)
    found = watch.look(mlo.Engine(graph), learners, SPACE, PLACE, genotype)
    assert found.gap == pytest.approx(0.0, abs=1e-12)
    assert found.eigenvalue == pytest.approx(0.0, abs=1e-12)
    assert engine.step_count == 1


@pytest.mark.parametrize("form", [SingleTask(), Interleaving()], ids=str)
def test_a_look_leaves_everything_as_it_was(form: Formulation) -> None:
    watch, engine, learners, genotype = scene(form)
    names = engine.graph.names
    before = [engine.values[name] for name in names]
    buffers = [dict(engine.export(name).named_buffers()) for name in names[1:]]
    torch.manual_seed(5)
    first = watch.look(engine, learners, SPACE, PLACE, genotype)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn), "the global generator is where it was"
    assert watch.look(engine, learners, SPACE, PLACE, genotype) == first, "twice the same"
    for old, name in zip(before, names, strict=True):
        new = engine.values[name]
        assert all(torch.equal(old[key], new[key]) for key in old)
    for kept, name in zip(buffers, names[1:], strict=True):
        new = dict(engine.export(name).named_buffers())
        assert all(torch.equal(kept[key], new[key]) for key in kept)
    assert validation_of(learners, form).answers


def test_only_what_is_asked_for_and_due() -> None:
    watch, engine, learners, genotype = scene(SingleTask())

    def seen(settings: WatchSettings, epoch: int) -> tuple[bool, bool]:
        watch._settings = replace(setup(SingleTask()), watch=settings)
        found = watch.look(engine, learners, SPACE, Progress(0, epoch, 4), genotype)
        return found.gap is not None, found.eigenvalue is not None

    assert seen(WatchSettings(), 0) == (True, False)
    assert [seen(WatchSettings(gap=False, eigenvalue=2), epoch)[1] for epoch in range(4)] == [False, True, False, True]
    assert seen(WatchSettings(gap=False), 3) == (False, False)


def test_the_place_in_the_data_stays() -> None:
    images = Images(torch.rand(6, 1, 4, 4), torch.arange(6) % 2)
    stream, twin = (Batches(images, size=2, seed=1, mean=(0.0,), std=(1.0,)) for _ in range(2))
    x, _ = first_batch(stream)
    assert torch.equal(x, next(iter(stream))[0]), "it is the next one"
    next(iter(twin))
    assert torch.equal(next(iter(stream))[0], next(iter(twin))[0]), "and what follows is as without looking"
    plain = [(torch.zeros(1), torch.ones(1))]
    assert first_batch(plain)[0] is plain[0][0]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    "method",
    [Darts(), PCDarts(portion=2, warm_up=0.0), PDarts(deeper=(0,), kept=(1.0,), dropout=(0.5,), warm_up=0.0)],
    ids=lambda m: m.title,
)
def test_a_search_is_the_same_bit_for_bit(method: AbstractMethod, tmp_path: Path) -> None:
    """P-DARTS draws masks of dropout from the global generator, so that a look that drew any would show."""
    net = replace(SETTINGS.supernet, channels=4)
    settings = replace(SETTINGS, method=method, supernet=net, epochs=2)

    def outcome(name: str, watch: WatchSettings) -> tuple[str, ...]:
        torch.manual_seed(1)
        search(replace(settings, watch=watch), tmp_path / name)
        return tuple((tmp_path / name / file).read_text() for file in ("alphas.json", "metrics.csv", "epochs.csv"))

    without, watched = outcome("without", WatchSettings(gap=False)), outcome("with", ALL)
    assert watched[:2] == without[:2]
    assert watched[2] != without[2]


@pytest.mark.usefixtures("no_pictures")
def test_what_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The architecture rests in the first of three epochs, of which nothing is measured and nothing told."""
    method = Darts(warm_up=0.34)
    settings = replace(SETTINGS, method=method, epochs=3, watch=WatchSettings(skips=1, eigenvalue=2))
    space = replace(settings.supernet, primitives=("none", "skip_connect", "avg_pool_3x3", "dil_conv_3x3"))
    with caplog.at_level(logging.WARNING, "mlo.nas"):
        search(replace(settings, supernet=space), tmp_path)
    history = json.loads((tmp_path / "genotypes.json").read_text())
    assert [entry["gap"] is None for entry in history] == [True, False, False]
    assert [entry["eigenvalue"] is None for entry in history] == [True, False, True]
    with (tmp_path / "epochs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["stage", "epoch", "skips/normal", "skips/reduction", "gap", "eigenvalue"]
    assert [(row["stage"], row["epoch"]) for row in rows] == [("1", "1"), ("1", "2"), ("1", "3")]
    for row, entry in zip(rows, history, strict=True):
        assert [int(row[f"skips/{name}"]) for name in ("normal", "reduction")] == list(entry["skips"].values())
        assert [row[key] for key in ("gap", "eigenvalue")] == [
            "" if entry[key] is None else repr(entry[key]) for key in ("gap", "eigenvalue")
        ]
    told = json.loads((tmp_path / "warnings.json").read_text())
    skips = [entry["skips"]["normal"] >= 1 for entry in history]
    begun = [number for number in (2, 3) if skips[number - 1] and (number == 2 or not skips[number - 2])]
    assert [one["epoch"] for one in told if one["sign"] == "skips"] == begun
    text = (tmp_path / "README.md").read_text()
    assert all((one["text"] in text) == (one["ended"] is None) for one in told), "what has passed is in the file alone"
    assert [record.message for record in caplog.records] == [one["text"] for one in told]


@dataclass(frozen=True)
class Unfinished(Darts):
    """A method that cannot say how its cell is computed by the supernet."""

    def discretize(self, genotype: Genotype, space: object) -> dict[str, Tensor]:
        """Give tables that do not fit."""
        return {"normal": torch.zeros(1, 1), "reduction": torch.zeros(1, 1)}


@pytest.mark.usefixtures("no_pictures")
def test_a_look_that_fails_ends_no_search(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings: SearchSettings = replace(SETTINGS, method=Unfinished(), epochs=2)
    with caplog.at_level(logging.WARNING, "mlo.nas"):
        search(settings, tmp_path)
    assert [entry["gap"] for entry in json.loads((tmp_path / "genotypes.json").read_text())] == [None, None]
    failed = [record.message for record in caplog.records if "cannot be measured" in record.message]
    assert len(failed) == 1, "told once"
    assert failed[0].startswith("watch: the gap cannot be measured ('normal' has shape (1, 1)")


def test_a_limit_on_skips_hides_no_collapse(tmp_path: Path) -> None:
    """Skips are the heaviest on every edge; P-DARTS keeps two of them, and the warning comes all the same."""
    space = CellSpace()
    table = torch.zeros(space.edges, 8)
    table[:, space.primitives.index("skip_connect")] = 3.0
    variables, method, place = {"normal": table, "reduction": table.clone()}, PDarts(), Progress(0, 9, 25)
    genotype = method.derive(variables, space, place)
    assert sum(edge.operation == "skip_connect" for edge in genotype.normal.edges) == 2
    strengths = method.strengths(variables, space, place)
    with RunLog(tmp_path) as log:
        record = module.Record(tmp_path, log, silent, 1, Alarms(WatchSettings()), {})
        record.end_epoch(Epoch(place, variables, strengths, space, genotype, False, Sight()))
    assert "8 of the 8 edges of the normal cell are skip connections" in record.warnings[0]
