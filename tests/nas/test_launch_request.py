"""Requests for launchers on the command line: what they come to, and what is refused in one line."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from applications.nas.cli import main
from applications.nas.jobs import Job
from applications.nas.presets import SEARCH
from applications.nas.sweep.launch.base import AbstractLauncher, Ended
from applications.nas.sweep.launch.settings import Local, Slurm, SubmititLocal
from applications.nas.sweep.launch.submitit_local import SubmititLocalEngine
from applications.nas.sweep.plan import Axis, SweepSettings
from applications.nas.sweep.run import sweep
from mlo import ConfigError


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path


def test_gpus_are_shared_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SubmititLocal(gpus=(3, 5)).launcher(3, "x").engine  # type: ignore[attr-defined]
    assert isinstance(engine, SubmititLocalEngine)
    asked = []

    class Executor:
        def __init__(self, logs: Path) -> None:
            pass

        def update_parameters(self, **given: Any) -> None:
            asked.append(given.get("visible_gpus"))

        def submit(self, call: object) -> Any:
            return type("Made", (), {"job_id": str(len(asked)), "done": lambda self: False})()

    monkeypatch.setattr(engine._submitit, "LocalExecutor", Executor)
    engine.submit([None] * 3, tmp_path)  # type: ignore[list-item]
    assert asked == [(3,), (5,), (3,)]
    assert [engine.room(running) for running in (0, 2, 3, 4)] == [3, 1, 0, 0]


@pytest.mark.parametrize(
    ("request_", "workers", "told"),
    [
        (Local(), 0, "workers must be at least 1, got 0"),
        (SubmititLocal(), 0, "workers must be at least 1, got 0"),
        (SubmititLocal(gpus=(0, 0)), 1, r"launcher\.gpus: \(0, 0\)"),
        (SubmititLocal(gpus=(-1,)), 1, r"launcher\.gpus"),
        (Slurm(), 2, r"--workers counts processes of this machine: give --launcher\.array"),
        (Slurm(hours=0.01), 1, r"launcher\.hours must be at least 0\.05, got 0\.01"),
        (Slurm(gpus=-1), 1, r"launcher\.gpus must be"),
        (Slurm(cpus=0), 1, r"launcher\.cpus must be"),
        (Slurm(array=0), 1, r"launcher\.array must be"),
        (Slurm(retries=-1), 1, r"launcher\.retries must be"),
        (Slurm(partition="a\n#SBATCH --x"), 1, r"launcher\.partition holds two lines"),
        (Slurm(), 1, "there is no sbatch here: run it where jobs are submitted"),
    ],
)
def test_requests_that_are_refused(
    request_: Any, workers: int, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=told):
        request_.launcher(workers, "mine")
    if "sbatch" not in told:
        with pytest.raises(ConfigError, match=told):
            request_.words(workers)


def test_numbers_that_are_none_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="launcher: hours must be finite, got hours=nan"):
        Slurm(hours=float("nan"))
    with pytest.raises(ConfigError, match="launcher: memory must be finite, got memory=inf"):
        Slurm(memory=float("inf"))


@pytest.mark.parametrize("name", ["submitit-local", "slurm"])
def test_without_submitit_one_line_names_the_extra(
    name: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main(["sweep", "digits", "--vary", "seed", "0", "--epochs", "1", f"launcher:{name}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: launcher:{name} needs submitit")
    assert line.endswith("pip install 'mlo-torch[cluster]'")
    assert list(elsewhere.iterdir()) == []


class Deferred(AbstractLauncher):
    """A launcher that runs nothing, here or elsewhere."""

    def __init__(self, *, here: bool) -> None:
        self._here = here
        self.labels: list[str] = []

    @property
    def here(self) -> bool:
        return self._here

    def launch(self, jobs: Sequence[Job], folder: Path, console: Console, *, whole: str, ended: Ended) -> None:
        self.labels += [job.label for job in jobs]


def test_a_machine_without_a_gpu_launches_jobs_that_have_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = SweepSettings(replace(SEARCH["digits"][1], device="cuda"), (Axis("seed", ("0", "1")),))
    console = Console(file=io.StringIO())
    with pytest.raises(ConfigError, match="device: cuda was asked for"):
        sweep(settings, tmp_path / "a", console, launcher=Deferred(here=True))
    away = Deferred(here=False)
    sweep(settings, tmp_path / "a", console, launcher=away)
    assert away.labels == ["seed=0", "seed=1"]


def test_a_dry_run_tells_and_writes_nothing(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "sweep digits --vary seed 0 1 2 --retrain digits --dry-run --vary batch 8 launcher:slurm"
    assert main([*words.split(), "--launcher.partition", "gpu", "--launcher.gpus", "1"]) == 0
    shown = capsys.readouterr().out
    assert "3 points, of which 0 are finished; each is a search, whose cell is trained " in shown
    assert "\n  seed=0,batch=8\n  seed=1,batch=8\n  seed=2,batch=8\n" in shown
    assert "launched: 16 at a time, as jobs of Slurm; each 24 h, 1 CPU, 1 GPU, partition gpu\n" in shown
    assert list(elsewhere.iterdir()) == []


def test_help_teaches_the_launchers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "digits", "launcher:slurm", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "launcher:local | launcher:submitit-local | launcher:slurm" in shown
    assert "--launcher.partition" in shown
    assert "pip install 'mlo-torch[cluster]'" in shown
