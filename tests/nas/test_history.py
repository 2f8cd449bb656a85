"""The history of a search: written at each epoch, read back as it was, refused by name where it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from applications.nas.run_folder import GENOTYPES, History, Snapshot, count_skips, read_history
from applications.nas.space.mixture import named_weights
from applications.nas.space.zoo import DARTS_V1, DARTS_V2
from mlo import DataError

ALPHAS = {"normal": torch.tensor([[0.5, -1.5]], requires_grad=True), "betas": torch.tensor([1.0])}
WEIGHTS = named_weights({"normal": torch.tensor([[1 / 3, 2 / 3]])}, ["none", "skip_connect"])


def write(folder: Path) -> History:
    history = History(folder)
    history.add(1, DARTS_V1)
    history.add(1, DARTS_V2, stage=2, alphas=ALPHAS, weights=WEIGHTS)
    return history


def test_each_epoch_is_on_disk_at_once(tmp_path: Path) -> None:
    history = History(tmp_path)
    for epoch in (1, 2):
        history.add(epoch, DARTS_V1)
        assert [snapshot.epoch for snapshot in read_history(tmp_path)] == list(range(1, epoch + 1))


def test_what_is_written(tmp_path: Path) -> None:
    write(tmp_path)
    first, second = json.loads((tmp_path / GENOTYPES).read_text())
    assert set(first) == {"stage", "epoch", "skips", "cell", "genotype", "alphas", "gap", "eigenvalue"}
    assert (second["stage"], second["epoch"]) == (2, 1)
    assert first["skips"] == {"normal": 3, "reduction": 3}, "DARTS_V1, counted by hand"
    assert first["cell"] == str(DARTS_V1)
    assert second["alphas"] == {"normal": [[0.5, -1.5]], "betas": [1.0]}
    assert second["weights"] == {"normal": [{"none": 0.333333, "skip_connect": 0.666667}]}


def test_it_is_read_back(tmp_path: Path) -> None:
    written = write(tmp_path).snapshots
    read = read_history(tmp_path)
    assert read[0] == written[0] == Snapshot(1, DARTS_V1)
    assert (read[1].genotype, read[1].stage, read[1].skips) == (DARTS_V2, 2, count_skips(DARTS_V2))
    assert read[1].alphas == {"normal": [[0.5, -1.5]], "betas": [1.0]}
    assert read[1].weights["normal"][0]["none"] == pytest.approx(1 / 3, abs=1e-6)  # kept to six digits


def test_a_history_that_is_cut_off(tmp_path: Path) -> None:
    write(tmp_path)
    text = (tmp_path / GENOTYPES).read_text()
    for end in range(0, len(text) - 2, 97):
        (tmp_path / GENOTYPES).write_text(text[:end])
        with pytest.raises(DataError, match=rf"{GENOTYPES} is not JSON"):
            read_history(tmp_path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"epoch": 1, "skips": 2, "cell": ""}, "entry 0: lacks stage, genotype, alphas"),
        (7, "entry 0: lacks stage"),
        ({"epoch": "1"}, "entry 0: stage, epoch or weights"),
        ({"weights": {"normal": [{}]}}, "entry 0: stage, epoch or weights"),
        ({"weights": {"normal": [{"none": "x"}]}}, "entry 0: stage, epoch or weights"),
        ({"genotype": {"normal": {}}}, "entry 0: genotype: key 'reduction' is missing"),
    ],
)
def test_a_history_of_another_kind(entry: object, message: str, tmp_path: Path) -> None:
    write(tmp_path)
    whole = json.loads((tmp_path / GENOTYPES).read_text())[0]
    changed = {**whole, **entry} if isinstance(entry, dict) and "cell" not in entry else entry
    (tmp_path / GENOTYPES).write_text(json.dumps([changed]))
    with pytest.raises(DataError, match=message):
        read_history(tmp_path)
    (tmp_path / GENOTYPES).write_text("{}")
    with pytest.raises(DataError, match="must hold a list"):
        read_history(tmp_path)


def test_a_history_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{GENOTYPES} cannot be read \(No such file"):
        read_history(tmp_path)
