"""submitit's local executor, with real processes: the same sweep as with workers, deaths, Ctrl-C, GPUs."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from applications.nas.cli import main
from applications.nas.jobs import Job
from applications.nas.sweep.launch.cluster import ClusterLauncher
from applications.nas.sweep.launch.desk import Desk
from applications.nas.sweep.launch.local import LocalLauncher
from applications.nas.sweep.launch.place import Place
from applications.nas.sweep.launch.settings import SubmititLocal
from mlo import ConfigError
from tests.nas import launched
from tests.nas.slurm_stand import ROOT, until

pytestmark = pytest.mark.timeout(120)  # a hang is a failure

TINY = "--supernet.nodes 1 --supernet.channels 2 --epochs 1 --batch 300"
TIMED = re.compile(r'"[a-z_]*seconds[a-z_]*": [0-9.e-]+|[0-9.]+ (s|seconds|minutes)\b')


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def launcher(workers: int = 2) -> ClusterLauncher:
    found = SubmititLocal().launcher(workers, "mine")
    assert isinstance(found, ClusterLauncher)
    return found


def launch(jobs: Sequence[Job], folder: Path, log: io.StringIO | None = None) -> dict[str, Any]:
    """Run jobs; return what became of each, by label."""
    found: dict[str, Any] = {}
    console = Console(file=log or io.StringIO(), width=300)
    launcher().launch(
        jobs, folder, console, whole="all", ended=lambda index, one: found.update({jobs[index].label: one})
    )
    return found


def test_the_same_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The same folders, tables, cells and failures as with worker processes, to the bit; times alone differ."""
    monkeypatch.setenv("COLUMNS", "300")
    words = f"sweep digits --vary formulation.weight 1 100 --formulation.form explicit {TINY}".split()
    shown = {}
    for name in ("local", "submitit-local"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert main([*words, "--out", "mine", f"launcher:{name}"]) == 2, "a point cannot work: equation 7 diverges"
        shown[name] = capsys.readouterr().err
    assert shown["local"] == shown["submitit-local"]
    local, other = (tmp_path / name / "mine" for name in ("local", "submitit-local"))
    files = [{path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} for folder in (local, other)]
    files = [{path for path in found if "tfevents" not in path.name} for found in files]  # they are named by the time
    assert files[0] == {path for path in files[1] if path.parts[0] != "jobs"}
    exact = ["table.csv", "sweep.json", "weight=100/failure.txt", "weight=1/genotypes.json", "weight=1/alphas.json"]
    for name in [*exact, "weight=1/genotype.json"]:
        assert (local / name).read_bytes() == (other / name).read_bytes(), name
    results = [TIMED.sub("", (folder / "weight=1/results.json").read_text()) for folder in (local, other)]
    assert results[0] == results[1]
    assert "jobs/" in (other / "README.md").read_text()


def test_failures_and_deaths(tmp_path: Path) -> None:
    """An error that no pickle carries, a killed process, and a job that works."""
    work = ((launched.odd, ()), (launched.killed, ()), (launched.note, (tmp_path, "good")))
    jobs = [Job(function.__name__, function, arguments) for function, arguments in work]
    log = io.StringIO()
    found = launch(jobs, tmp_path / "sweep", log)
    assert found["note"] is None
    assert str(found["odd"]) == "OddError: this and that"
    assert "in odd\n" in found["odd"].origin()
    told = str(found["killed"])
    name = json.loads((tmp_path / "sweep/jobs/killed/claim.json").read_text())["job"]
    file = tmp_path / "sweep/jobs/logs" / f"{name}_0_log.out"
    assert told.startswith(f"the job {name} died; its log is {file}, which ends with ")
    assert "fewer --workers" in told
    assert "allocating" in file.read_text()
    assert "all: 3/3, 0 s left; 2 failed" in log.getvalue()


def test_what_outlives_its_program_is_waited_for_or_ended(tmp_path: Path) -> None:
    folder, jobs = tmp_path / "sweep", [Job("a", launched.wait_for, (tmp_path, "a"))]
    lost = launcher()
    Desk(lost.engine, jobs, folder, print).submit()  # and no more is heard of it
    place = Place(folder / "jobs" / "a")
    until((tmp_path / "a").exists)
    claim = place.claim()
    assert claim is not None
    with pytest.raises(ConfigError, match=rf"a: the job {claim.job} of launcher:submitit-local works on it"):
        LocalLauncher(1).launch(jobs, folder, Console(file=io.StringIO()), whole="all", ended=print)

    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    log, started = io.StringIO(), time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        launch(jobs, folder, log)
    assert "launched before, and waited for now: a" in log.getvalue()
    assert "jobs cancelled: 1" in log.getvalue()
    assert time.monotonic() - started < 30
    assert not place.busy()
    until(lambda: not lost.engine.alive([claim.job]))

    (tmp_path / "go").touch()
    assert launch(jobs, folder) == {"a": None}
    assert len((tmp_path / "a").read_text().splitlines()) == 2, "it began again"
