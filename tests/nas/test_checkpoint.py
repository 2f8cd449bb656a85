"""The state of a search after an epoch, written whole and read without running code."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.func import functional_call

from applications.nas.methods import Darts, Progress
from applications.nas.networks.supernet import Supernet
from applications.nas.presets import SEARCH
from applications.nas.run_folder import read_history
from applications.nas.search import record as search_record
from applications.nas.search import search
from applications.nas.search.checkpoint import CHECKPOINT, read_checkpoint
from applications.nas.settings import GradientSettings, Interleaving
from mlo import DataError

SETTINGS = replace(
    SEARCH["digits"][1], epochs=2, batch=300, formulation=Interleaving(weight=20.0), gradient=GradientSettings("first")
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(search_record, "draw_search", lambda *_: ([], []))
    search(SETTINGS, tmp_path)
    return tmp_path


def test_the_last_epoch_is_kept(run: Path) -> None:
    """The architecture is that of the history; the supernets load into networks of their size and compute."""
    found, last = read_checkpoint(run), read_history(run)[-1]
    assert (found.stage, found.epoch) == (last.stage, last.epoch) == (1, 2)
    assert {name: table.tolist() for name, table in found.architecture.items()} == last.alphas
    assert set(found.supernets) == {"digits@1", "loops@1", "digits@2", "loops@2"}
    network = Supernet(SETTINGS.supernet.space, 4, 3, 10, in_channels=1)
    network.load_state_dict(found.supernets["digits@2"])
    weights = Darts().relax(found.architecture, Progress(0, 1, 2))
    out = functional_call(network, found.supernets["digits@2"], (torch.rand(2, 1, 8, 8), weights))
    assert out.shape == (2, 10)
    assert not torch.equal(found.supernets["digits@2"]["head.weight"], found.supernets["digits@1"]["head.weight"])


def test_what_is_no_checkpoint(run: Path, tmp_path: Path) -> None:
    file = run / CHECKPOINT
    content = file.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"nonsense", pickle.dumps({"stage": 1})):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match="is not what was written: search again"):
            read_checkpoint(run)
    file.unlink()
    with pytest.raises(DataError, match="is missing"):
        read_checkpoint(run)


class Hostile:
    """A pickle of it would write a file."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("ran"),)


def test_a_hostile_file_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"stage": Hostile()}, tmp_path / CHECKPOINT)
    with pytest.raises(DataError, match="is not what was written"):
        read_checkpoint(tmp_path)
    assert not (tmp_path / "ran").exists()
