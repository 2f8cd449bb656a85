"""Searches and retrainings hold no more after many steps than after few: of every formulation, and of every method."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from applications.nas.data import Images, Task, large_folder_task
from applications.nas.launch import Ranks
from applications.nas.methods import AbstractMethod, PCDarts, PDarts
from applications.nas.retrain import retrain
from applications.nas.retrain.checkpoint import Keeper
from applications.nas.run_folder import MetricsFile
from applications.nas.search import record, search
from applications.nas.search import request as module
from applications.nas.settings import (
    CifarForm,
    Formulation,
    GradientSettings,
    Interleaving,
    MultiTask,
    RetrainSettings,
    SearchSettings,
    SingleTask,
    SupernetSettings,
    WatchSettings,
)
from applications.nas.space.genotype import Cell, Edge, Genotype
from mlo import DataError
from tests.held import STEPS, Held, apart, check_level, check_steps
from tests.nas.pictures import write_folder

SETTINGS = SearchSettings(
    formulation=SingleTask(),
    supernet=SupernetSettings(nodes=1, primitives=("none", "skip_connect"), channels=1, layers=3),
    gradient=GradientSettings("first"),
    watch=WatchSettings(gap=False),
    epochs=1,
    batch=2,
    device="cpu",
)
FORMS = [SingleTask(), MultiTask(), Interleaving(weight=20.0)]
MIXED = SupernetSettings(nodes=1, primitives=("none", "skip_connect", "avg_pool_3x3"), channels=2, layers=3)
STAGED = PDarts(deeper=(0,), kept=(1.0,), dropout=(0.5,), warm_up=0.0)


def images(count: int) -> Images:
    return Images(torch.rand(count, 1, 4, 4), torch.arange(count) % 2)


def tasks(count: int) -> tuple[Task, ...]:
    """Two tasks with `count` images in each part."""
    return tuple(
        Task(name, ("even", "odd"), images(count), images(count), images(count), (0.5,), (0.3,)) for name in ("a", "b")
    )


class Sampler:
    """Takes three samples on the way: after a fifth of the steps, three fifths, and all."""

    def __init__(self) -> None:
        self.samples: list[Held] = []
        self.steps = 0

    def __call__(self, done: int, total: int, _: str) -> None:
        part = total // 5
        if done in (part, 3 * part, 5 * part) and done:
            self.samples.append(Held.now())
            self.steps = 2 * part


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(record, "draw_search", lambda *_: ([], []))
    logging.disable(logging.DEBUG)  # torch tells much of each checkpoint, and pytest would keep it
    with apart():
        yield
    logging.disable(logging.NOTSET)


def level(settings: SearchSettings, folder: Path, monkeypatch: pytest.MonkeyPatch, count: int, kept: int = 0) -> None:
    made, sampler = tasks(count), Sampler()
    monkeypatch.setattr(module, "load_tasks", lambda *_: made)
    search(settings, folder, sampler)
    check_level(sampler.samples, sampler.steps, kept=kept)


@pytest.mark.parametrize(
    ("form", "rule"),
    [*((form, "first") for form in FORMS), (SingleTask(), "exact"), (FORMS[2], "exact"), (MultiTask(), "difference")],
    ids=lambda one: one if isinstance(one, str) else type(one).__name__,
)
def test_steps_of_a_formulation(form: Formulation, rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(SETTINGS, formulation=form, gradient=GradientSettings(rule))  # type: ignore[arg-type]
    quick = rule == "first" or STEPS >= 2000
    level(settings, tmp_path, monkeypatch, 2 * STEPS if quick else STEPS)


@pytest.mark.parametrize("method", [STAGED, PCDarts(portion=2, warm_up=0.0)], ids=["pdarts", "pcdarts"])
@pytest.mark.parametrize("net", ["plain", "batched"])
def test_steps_of_a_method(method: AbstractMethod, net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    supernet = replace(MIXED, form=net)  # type: ignore[arg-type]
    level(replace(SETTINGS, method=method, supernet=supernet), tmp_path, monkeypatch, 2 * STEPS)


def test_epochs_of_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each epoch the history keeps the alphas, the weights that they give, and the cell."""
    settings = replace(SETTINGS, epochs=min(STEPS // 2, 200), watch=WatchSettings(gap=True), batch=4)
    level(settings, tmp_path, monkeypatch, 4, kept=60)


CELL = Cell((Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)), (2,))
RETRAIN = RetrainSettings(network=CifarForm(channels=1, layers=3), epochs=STEPS, batch=4, ema=0.9, device="cpu")


@pytest.mark.parametrize("keeps", [False, True], ids=["alone", "with checkpoints"])
def test_epochs_of_a_retraining(keeps: bool, tmp_path: Path) -> None:
    """Of each epoch a row of metrics is kept."""
    sampler, keeper = Sampler(), Keeper(tmp_path, "a", 0, Ranks()) if keeps else None
    retrain(Genotype(CELL, CELL), tasks(4)[0], RETRAIN, 0, tmp_path, sampler, keeper=keeper)
    check_level(sampler.samples, sampler.steps, kept=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_epochs_of_files(workers: int, tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"train": 6, "test": 3})
    task = large_folder_task(root, name="made up", side=8, seed=0, workers=workers)
    batches = task.stream("train", size=3, seed=0, device="cpu", training=True)
    # Of batches from other processes torch keeps weak references, two objects each, and clears them from 128 on.
    check_steps(lambda: list(batches), steps=10 if workers else STEPS, kept=4 if workers else 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_files_that_are_broken(workers: int, tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"train": 6, "test": 3})
    task = large_folder_task(root, name="made up", side=8, seed=0, workers=workers)
    for path in (root / "train").rglob("*.*"):
        path.write_bytes(b"no picture")
    batches = task.stream("train", size=3, seed=0, device="cpu", training=True)

    def step() -> None:
        try:
            next(iter(batches))
        except DataError:
            return
        raise AssertionError("a broken picture was taken")

    check_steps(step, steps=10 if workers else STEPS, kept=4 if workers else 0)


def test_rows_of_metrics(tmp_path: Path) -> None:
    with MetricsFile(tmp_path / "metrics.csv") as metrics:
        check_steps(lambda: metrics.write({"step": time.monotonic(), "loss/a": time.monotonic()}), steps=2500)
        assert len(metrics.rows) == 2500


def test_a_leak_of_a_search_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[object] = []
    step = record.Record._write_step

    def leaking(self: record.Record, report: object, *rest: object) -> None:
        kept.append(torch.zeros(128))
        step(self, report, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(record.Record, "_write_step", leaking)
    with pytest.raises(AssertionError, match="'tensors'"):
        level(SETTINGS, tmp_path, monkeypatch, 2 * STEPS)
