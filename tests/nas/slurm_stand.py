"""Puts the programs of `fake_slurm` on the path, and takes them away with all that they started."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from applications.nas.sweep.launch.slurm import SlurmEngine

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("sbatch", "srun", "squeue", "sacct", "scancel", "scontrol")


def until(fact: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.05)


@contextmanager
def fake_slurm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the folder of what the programs know."""
    state, programs = folder / "slurm", folder / "bin"
    state.mkdir()
    programs.mkdir()
    for name in PROGRAMS:
        words = [sys.executable, "-S", "-E", str(Path(__file__).with_name("fake_slurm.py")), name]
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(state))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name, seconds in (("pause", 0.1), ("patience", 0.5), ("period", 0.2)):
        monkeypatch.setattr(SlurmEngine, name, seconds)
    yield state
    subprocess.run(["scancel", *(file.stem for file in state.glob("*.json"))], check=True, timeout=30)
    until(lambda: not list(state.glob("*.runner")))
