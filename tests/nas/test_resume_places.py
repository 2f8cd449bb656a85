"""Searches that are killed at chosen places: each stage, each side of what ends an epoch, a stage and a search."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import mlo
from applications.nas.cli import main
from applications.nas.files import read_json, write_json
from applications.nas.methods import Darts, PDarts
from applications.nas.run_folder import read_metrics
from applications.nas.search import begun, resume, search
from applications.nas.search import record as recording
from applications.nas.search import run as running
from applications.nas.search.keeper import Keeper
from applications.nas.settings import SearchSettings, WatchSettings
from applications.nas.space.cell import CellSpace
from applications.nas.space.genotype import Genotype
from tests.nas.interrupted import assert_same_search, killed_at, run
from tests.nas.test_resume import SETTINGS


@dataclass(frozen=True)
class Patient(Darts):
    """DARTS that likes skip connections, and ends after a third epoch."""

    title: ClassVar[str] = "Patient"

    def initial(self, space: CellSpace, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw tables that lean to the second operation."""
        return {
            name: table + torch.tensor([0.0, 1.0, 0.0]) for name, table in super().initial(space, generator).items()
        }

    def stop(self, history: Sequence[Genotype]) -> str | None:
        """Return the reason."""
        return f"{len(history)} cells are enough" if len(history) >= 3 else None


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures have tests of their own."""
    monkeypatch.setattr(recording, "draw_search", lambda *_: ([], []))


def compare(settings: SearchSettings, folder: Path, places: Sequence[tuple[Any, str, int]]) -> None:
    """Kill a search at each place, then let it end, and compare it with one that was not killed."""
    search(settings, folder / "whole")
    for holder, name, time in places:
        assert killed_at(lambda: run(settings, folder / "killed"), holder, name, time), (name, time)
    run(settings, folder / "killed")
    assert_same_search(folder / "whole", folder / "killed")


def test_each_stage(tmp_path: Path) -> None:
    """The variables of a stage are drawn when it begins, and its space is what the one before has left."""
    method = PDarts(deeper=(0, 0, 0), kept=(1.0, 0.7, 0.4), dropout=(0.2, 0.3, 0.4))
    primitives = ("none", "skip_connect", "dil_conv_3x3", "max_pool_3x3")
    supernet = replace(SETTINGS.supernet, primitives=primitives)
    settings = replace(SETTINGS, method=method, supernet=supernet, epochs=1)
    compare(settings, tmp_path, [(mlo.Engine, "step", 3), (mlo.Engine, "step", 5), (mlo.Engine, "step", 4)])
    assert read_metrics(tmp_path / "killed")[-1]["stage"] == 3


def test_a_method_that_ends_early(tmp_path: Path) -> None:
    """Its cells are counted over kills; the reason, and what was warned of, are told at the end."""
    settings = replace(SETTINGS, method=Patient(), epochs=5, batch=160, watch=WatchSettings(skips=1))
    places = [
        (Keeper, "milestone", 3),  # the second epoch is in genotypes.json, and not in a checkpoint
        (recording.Record, "end_epoch", 2),
        (running, "write_outcome", 1),
    ]
    compare(settings, tmp_path, places)
    for name in ("whole", "killed"):
        told = (tmp_path / name / "README.md").read_text()
        assert "stage 1 ends after epoch 3: 3 cells are enough" in told
        assert "epoch 1: 2 of the 2 edges of the normal cell are skip connections" in told, "warned of before the kills"
    assert len(read_json(tmp_path / "killed" / "genotypes.json", "")) == 3


def test_the_very_end(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What is killed when all is written has finished, whatever is left of its checkpoints."""
    assert killed_at(
        lambda: search(SETTINGS, tmp_path / "run"), shutil, "rmtree", lambda path: path.name == "checkpoints"
    )
    assert (tmp_path / "run" / "checkpoints").is_dir()
    assert resume(tmp_path / "run").steps == 8
    write_json(tmp_path / "run" / "results.json", {"kind": "retrain"})
    assert main(["search", "--resume", str(tmp_path / "run")]) == 2
    assert "run holds a retrain, and no search: give the folder of a search\n" in capfd.readouterr().err
    write_json(tmp_path / "run" / "results.json", {"kind": "search", "steps": 8})
    assert main(["search", "--resume", str(tmp_path / "run")]) == 2
    assert "results.json is not what a search writes: search again" in capfd.readouterr().err


def test_another_machine_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert killed_at(lambda: search(SETTINGS, tmp_path), mlo.Engine, "step", 3)
    inner = begun.environment
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(begun, "environment", lambda: {**inner(), "threads": 99, "command": "other"})
        resume(tmp_path)
    (told,) = [entry for entry in caplog.records if entry.name == "mlo.nas" and "rounding" in entry.message]
    assert told.message.startswith("threads was ")
    assert "and is 99: the search goes on, but not with the same rounding" in told.message
    assert told.levelno == logging.WARNING


def test_other_ranks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert killed_at(lambda: search(SETTINGS, tmp_path), mlo.Engine, "step", 3)
    inner: Callable[..., Any] = mlo.Checkpoints.latest

    def of_two(self: mlo.Checkpoints) -> Any:
        kept = inner(self)
        return replace(kept, more={**kept.more, "ranks": 2})

    monkeypatch.setattr(mlo.Checkpoints, "latest", of_two)
    files = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(
        mlo.ConfigError, match=r"its search was on 2 ranks, and is to go on with 1: start 2 by torchrun"
    ):
        resume(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == files - {".lock"}
