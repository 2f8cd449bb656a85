"""A search that is killed and resumed is the search that was not killed: weights, alphas, logs and cell, bit for bit."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from applications.nas.methods import AbstractMethod, Darts, PCDarts, PDarts
from applications.nas.search import record as module
from applications.nas.search import search
from applications.nas.settings import (
    CheckpointSettings,
    Formulation,
    GradientSettings,
    Interleaving,
    MultiTask,
    SearchSettings,
    SingleTask,
    SupernetSettings,
)
from tests.nas.interrupted import assert_same_search, killed, run

SETTINGS = SearchSettings(
    supernet=SupernetSettings(nodes=1, primitives=("none", "skip_connect", "dil_conv_3x3"), channels=2, layers=3),
    gradient=GradientSettings("first"),
    formulation=SingleTask(),
    epochs=2,
    batch=80,  # four batches of the 314 images that digits has to train on
    device="cpu",
    checkpoint=CheckpointSettings(share=1.0),
)
METHODS: list[AbstractMethod] = [
    Darts(warm_up=0.5),
    PDarts(deeper=(0, 1), kept=(1.0, 0.7), dropout=(0.2, 0.3)),
    PCDarts(portion=2),
]
FORMS: list[Formulation] = [SingleTask(task="loops"), MultiTask(), Interleaving()]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures have tests of their own, and take most of the time of so small a search."""
    monkeypatch.setattr(module, "draw_search", lambda *_: ([], []))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.title)
def test_killed_at_any_moment(tmp_path: Path, method: AbstractMethod, form: Formulation) -> None:
    settings = replace(SETTINGS, method=method, formulation=form)
    search(settings, tmp_path / "whole")
    draws = random.Random(f"{method.title} {form}")
    kills = 0
    while killed(lambda: run(settings, tmp_path / "killed"), draws.randrange(1, 110)):
        kills += 1
    assert kills >= 3
    assert_same_search(tmp_path / "whole", tmp_path / "killed")
