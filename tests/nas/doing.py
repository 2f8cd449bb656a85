"""Doing what a command of the pages says: the command line in this process, `torchrun` with two copies of it."""

from __future__ import annotations

import importlib
import logging
import os
import shlex
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from torch.distributed import run as torchrun

from applications.nas import demo
from applications.nas.cli import main
from applications.nas.jobs import Failure, Job
from applications.nas.progress import silent
from applications.nas.retrain import run as retrain_run
from applications.nas.search import record
from applications.nas.space.cell import CellSpace
from applications.nas.sweep.launch import local
from benchmarks import whole_step
from tests.nas.fake_packages import pip_settings
from tests.nas.shell import Command
from tests.nas.torchrun import fork
from tests.nas.ways import RECIPES, WAYS, Way

ROOT = Path(__file__).resolve().parents[2]
RANKS = 2  # as many as the machine of the tests has cores
PROGRAMS: dict[str, Callable[[Sequence[str]], int]] = {}


def program(command: Command, way: Way) -> tuple[str, ...]:
    """Return the words of a command made small; of torchrun, how many ranks and what its parser has them do."""
    words = (*(word for word in _fewer_points(command.words) if word != way.less), *shlex.split(way.more))
    return ("torchrun", *_ranks(words[1:])) if words[0] == "torchrun" else words


def do(words: Sequence[str]) -> int:
    """Run a program in the current folder; return its exit code."""
    return PROGRAMS[words[0]](words[1:])


def quicken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out pictures that no command asks for by itself, and processes whose start takes longer than their work."""
    monkeypatch.setattr(record, "draw_search", lambda _: ([], []))
    monkeypatch.setattr(retrain_run, "write_pages", lambda *_: None)
    monkeypatch.setattr(demo, "run_jobs", _jobs_here)
    monkeypatch.setattr(local, "try_jobs", _jobs_here)
    monkeypatch.setattr(whole_step, "store", lambda *_: None)  # figures of a small run are none
    monkeypatch.setattr(whole_step, "CellSpace", partial(CellSpace, nodes=1))


def _jobs_here(
    jobs: Sequence[Job],
    console: Console,
    *,
    workers: int,
    whole: str = "",
    ended: Callable[[int, Any], None] = lambda index, outcome: None,
) -> list[Any]:
    """Do jobs one after the other; where somebody wants to be told of each, an error is an outcome."""
    found = []
    for index, job in enumerate(jobs):
        try:
            outcome = job.function(*job.arguments, _Silent())
        except Exception as error:
            if not whole:
                raise
            outcome = Failure(error)
        ended(index, outcome)
        found.append(outcome)
    return found


class _Silent:
    """A reporter that nobody listens to."""

    def __call__(self, done: int, total: int, text: str) -> None:
        silent(done, total, text)

    def begin(self, label: str) -> _Silent:
        return self


def _fewer_points(words: Sequence[str]) -> list[str]:
    """Keep two values of the first field that a sweep varies, and one of each other."""
    kept, most, left = list[str](), 2, list(words)
    while left:
        word = left.pop(0)
        kept.append(word)
        if word != "--vary":
            continue
        kept.append(left.pop(0))
        values = []
        while left and not left[0].startswith(("--", "launcher:")):
            values.append(left.pop(0))
        kept += values[:most]
        most = 1
    return kept


def _python(words: Sequence[str]) -> int:
    """Run a script of the repository, or a line of Python, in this process."""
    if words[0] == "-c":
        exec(compile(words[1], "documented", "exec"), {"__name__": "__main__"})
        return 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("mlo"), "level", logging.WARNING)  # put back: scripts choose their own
        patch.setattr(sys, "argv", list(words))
        script = importlib.import_module(f"benchmarks.{Path(words[0]).stem}")
        assert (ROOT / words[0]).samefile(script.__file__), "the script that the page names"
        return int(script.main() or 0)


def _ranks(words: Sequence[str]) -> list[str]:
    _, starts, rest = torchrun.config_from_args(torchrun.parse_args(list(words)))
    assert starts == "mlo-nas" or list(rest[:3]) == ["-u", "-m", "applications.nas"], "what a rank would run"
    asked = list(rest if starts == "mlo-nas" else rest[3:])
    text = " ".join(["mlo-nas", *asked])
    asked += shlex.split(next(way.more for way in WAYS if way.fits(text)))
    stages = asked[asked.index("--parallel.stages") + 1] if "--parallel.stages" in asked else str(RANKS)
    return [stages, *asked]


def _torchrun(words: Sequence[str]) -> int:
    """Run ranks, which are copies of this process."""
    ranks, *asked = words
    child = os.fork()
    if child == 0:
        try:
            fork(int(ranks), lambda: _end_with(main(asked)))
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _end_with(code: int) -> None:
    if code:
        os._exit(code)


def _make(words: Sequence[str]) -> int:
    """Ask make what the target would run."""
    (target,) = words
    told = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert RECIPES[target][0] in told.stdout, f"the recipe of {target} no longer runs what another test runs"
    return told.returncode


def _pip(words: Sequence[str]) -> int:
    """Run pip, which finds packages of the asked names in a folder, and repositories there, and nothing else."""
    settings = pip_settings(Path("packages").absolute())
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=120)
    sys.stderr.write(done.stderr)
    return done.returncode


def _shell(line: str) -> Callable[[Sequence[str]], int]:
    """Return what runs a builtin of the shell, beside an environment such as `make` makes."""

    def run(words: Sequence[str]) -> int:
        venv.create(".venv", symlinks=True)
        return subprocess.run(["sh", "-c", shlex.join([line, *words])], timeout=60).returncode

    return run


PROGRAMS |= {
    ".": _shell("."),
    "export": _shell("export"),
    "ruff": lambda words: subprocess.run([sys.executable, "-m", "ruff", *words], cwd=ROOT, timeout=60).returncode,
    "mlo-nas": lambda words: main(list(words)),
    "torchrun": _torchrun,
    "python": _python,
    "make": _make,
    "pip": _pip,
}
