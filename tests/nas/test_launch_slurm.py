"""Slurm, played by small programs on the path that run what is submitted: its script, ends of all kinds, resuming."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from applications.nas.cli import main
from applications.nas.jobs import Job
from applications.nas.sweep.launch.cluster import ClusterLauncher
from applications.nas.sweep.launch.desk import Desk
from applications.nas.sweep.launch.local import LocalLauncher
from applications.nas.sweep.launch.settings import Slurm
from mlo import ConfigError
from tests.nas import launched
from tests.nas.slurm_stand import fake_slurm, until

pytestmark = pytest.mark.timeout(120)  # a hang is a failure

REQUEST = Slurm(partition="gpu", hours=0.05, gpus=1, memory=1.5, array=5, setup=("export SET_UP=yes",))


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with fake_slurm(tmp_path, monkeypatch) as state:
        yield state


def launcher(request: Slurm = REQUEST) -> ClusterLauncher:
    found = request.launcher(1, "mine")
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


def runs(file: Path) -> int:
    """Count how often a job has begun."""
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_a_job_that_is_killed_and_one_whose_time_runs_out(slurm: Path, tmp_path: Path) -> None:
    """Each on its own: the second is queued again, as Slurm does it, and begins again."""
    folder = tmp_path / "sweep"
    jobs = [Job("killed", launched.killed, ()), Job("late", launched.slow_at_first, (tmp_path, "late"))]

    def warn() -> None:
        until(lambda: runs(tmp_path / "late") == 1)
        subprocess.run(["scancel", "100_1", "--signal", "USR2"], check=True, timeout=30)

    thread = threading.Thread(target=warn)
    thread.start()
    log = io.StringIO()
    found = launch(jobs, folder, log)
    thread.join()
    assert found["late"] is None
    assert runs(tmp_path / "late") == 2
    told, file = str(found["killed"]), folder / "jobs" / "logs" / "100_0_0_log.out"
    assert told.startswith(f"the job 100_0 died (Slurm says OUT_OF_MEMORY); its log is {file}, which ends with ")
    assert told.endswith(": give --launcher.memory more")
    assert "allocating" in file.read_text()
    assert "all: 2/2, 0 s left; 1 failed" in log.getvalue()

    script = (slurm / "100.sh").read_text()
    wanted = ("array=0-1%2", "partition=gpu", "gpus-per-node=1", "cpus-per-task=1", "time=3", "mem=1536M")
    for option in (*wanted, "job-name=mlo-nas-mine", "signal=USR2@90"):
        assert f"#SBATCH --{option}\n" in script
    assert "\nexport SET_UP=yes\n" in script
    assert " --cpus-per-task=1 " in script.splitlines()[-1], "of srun, which does not take it from sbatch"
    assert "wckey" not in script
    assert len(list(slurm.glob("*.sh"))) == 1, "one array"


def test_a_sweep_whose_program_died_is_waited_for(slurm: Path, tmp_path: Path) -> None:
    """Jobs in the queue, and one that runs, are known again by those who resume, and run once."""
    folder, jobs = tmp_path / "sweep", [Job(name, launched.wait_for, (tmp_path, name)) for name in ("a", "b")]
    Desk(launcher(Slurm(array=1)).engine, jobs, folder, print).submit()  # and no more is heard of it
    until(lambda: runs(tmp_path / "a") == 1)
    with pytest.raises(ConfigError, match=r"a: the job 100_0 of launcher:slurm works on it: .*resume with launcher:sl"):
        LocalLauncher(1).launch(jobs, folder, Console(file=io.StringIO()), whole="all", ended=print)
    (slurm / "deaf").touch()
    with pytest.raises(ConfigError, match=r"a was given to Slurm, and squeue gave no answer .*where Slurm is"):
        launch(jobs, folder)
    (slurm / "deaf").unlink()
    assert len(list(slurm.glob("*.sh"))) == 1, "nothing was submitted"

    (tmp_path / "go").touch()
    log = io.StringIO()
    assert launch(jobs, folder, log) == {"a": None, "b": None}
    assert "launched before, and waited for now: a, b" in log.getvalue()
    assert (runs(tmp_path / "a"), runs(tmp_path / "b")) == (1, 1)
    assert len(list(slurm.glob("*.sh"))) == 1


def test_an_interrupt_cancels_all_jobs(slurm: Path, tmp_path: Path) -> None:
    """Those that run are ended and those that wait never begin."""
    folder, jobs = tmp_path / "sweep", [Job(name, launched.wait_for, (tmp_path, name)) for name in ("a", "b")]

    def interrupt() -> None:
        until(lambda: runs(tmp_path / "a") == 1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    log = io.StringIO()
    console = Console(file=log, width=300)
    with pytest.raises(KeyboardInterrupt):
        launcher(Slurm(array=1)).launch(jobs, folder, console, whole="all", ended=print)
    thread.join()
    assert "jobs cancelled: 2" in log.getvalue()
    assert [json.loads((slurm / f"100_{index}.json").read_text())["state"] for index in (0, 1)] == ["CANCELLED"] * 2
    assert not (tmp_path / "b").exists()


def test_a_refusal_leaves_nothing(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (slurm / "refuse").touch()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words = "sweep digits --vary seed 0 1 launcher:slurm --launcher.partition nope --out mine"
    assert main(words.replace(" launcher", " --epochs 1 launcher").split()) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: launcher:slurm: the jobs were refused (sbatch: error: invalid partition")
    assert list((tmp_path / "here").iterdir()) == []
