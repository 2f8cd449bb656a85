"""A retraining that is killed again and again, anywhere, ends with the bits of one that is not."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from torch import Tensor

from applications.nas.progress import silent
from applications.nas.retrain import run as run_module
from applications.nas.retrain.run import retrain_run
from applications.nas.retrain.trainer import Trainer
from applications.nas.run_folder.place import UNFINISHED
from applications.nas.settings import (
    CheckpointSettings,
    CifarForm,
    DigitsData,
    FolderData,
    RetrainSettings,
    SearchSettings,
)
from tests.nas.kills import ended_by_kill, kill_at_visit, visited
from tests.nas.parallel_cases import GENOTYPE

SETTINGS = RetrainSettings(
    network=CifarForm(2, 3),
    checkpoint=CheckpointSettings(share=1.0),
    epochs=2,
    batch=4,
    accumulate=2,
    drop_path=0.3,
    cutout=3,
    ema=0.9,
    seeds=(0, 1),
    device="cpu",
)
KILLS = 20
PLACES = ((Trainer, "step"), (os, "fsync"), (os, "replace"), (Path, "unlink"))


@pytest.fixture(autouse=True)
def _drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures; and each step draws from numpy and from `random`, as a user's operation may."""
    monkeypatch.setattr(run_module, "write_pages", lambda *_: None)
    step = Trainer.step

    def noisy(self: Trainer, x: Tensor, y: Tensor, size: int) -> None:
        step(self, x * (1 + 0.1 * numpy.random.rand() + 0.1 * random.random()), y, size)

    monkeypatch.setattr(Trainer, "step", noisy)


def draw_images(folder: Path, side: int) -> None:
    """Write two tasks, of 16 images to train on and 2 to test, of two classes each."""
    draw = torch.Generator().manual_seed(0)
    for task in ("cats", "dogs"):
        for part, count in (("train", 8), ("test", 1)):
            for name in ("small", "large"):
                (folder / task / part / name).mkdir(parents=True)
                for number in range(count):
                    pixels = torch.randint(256, (side, side, 3), dtype=torch.uint8, generator=draw)
                    Image.fromarray(pixels.numpy()).save(folder / task / part / name / f"{number}.png")


def assert_same(one: Path, other: Path) -> None:
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    for name in names:
        if name.endswith(".pt"):
            first, second = (torch.load(folder / name, weights_only=True) for folder in (one, other))
            assert first.keys() == second.keys()
            assert all(torch.equal(value, second[key]) for key, value in first.items()), name
        elif name == "results.json":
            first, second = (json.loads((folder / name).read_text()) for folder in (one, other))
            for training in (*first["trainings"], *second["trainings"]):
                assert training.pop("seconds") > 0
            assert first == second
        elif name != "environment.json":
            assert (one / name).read_bytes() == (other / name).read_bytes(), name


def kill_often(searched: SearchSettings, settings: RetrainSettings, root: Path, kills: int) -> None:
    """Compare a retraining that is left alone with one that is killed so many times."""
    (root / "whole").mkdir()
    (root / "killed").mkdir()

    def run(name: str) -> None:
        begun = (root / name / UNFINISHED).is_file()
        retrain_run(GENOTYPE, "cell", searched, settings, root / name, lambda label: silent, resumed=begun)

    visits: list[None] = []
    patch = visited(PLACES, lambda: visits.append(None))
    run("whole")
    patch.undo()
    draws = random.Random(7)
    most = 2 * len(visits) // kills  # so that they fall into all of it
    happened = 0

    def prepare() -> None:
        kill_at_visit(PLACES, after)

    after = draws.randrange(1, most)
    while ended_by_kill(lambda: run("killed"), prepare):
        happened += 1
        after = draws.randrange(1, most) if happened < kills else 10**9
    assert happened == kills
    assert_same(root / "whole", root / "killed")


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Two tasks, two seeds, images read from files: kills fall into steps, into writing, and between trainings."""
    draw_images(tmp_path, 8)
    roots = (tmp_path / "cats", tmp_path / "dogs")
    kill_often(SearchSettings(data=FolderData(roots, side=8, lazy=True)), SETTINGS, tmp_path, KILLS)


def test_killed_with_processes_that_decode_and_a_second_head(tmp_path: Path) -> None:
    draw_images(tmp_path, 32)  # the head needs so many pixels
    settings = replace(SETTINGS, network=CifarForm(2, 3, auxiliary=True), batch=8, seeds=(0,))
    searched = SearchSettings(data=FolderData((tmp_path / "cats",), side=32, lazy=True, workers=2))
    kill_often(searched, settings, tmp_path, 4)


def test_sparse_checkpoints(tmp_path: Path) -> None:
    """Images in memory; with one state an epoch, what was done since then is done again, to the same bits."""
    settings = replace(SETTINGS, batch=300, accumulate=1, checkpoint=CheckpointSettings(1e-9, 1))
    kill_often(SearchSettings(data=DigitsData(("digits",))), settings, tmp_path, 3)
