"""A sweep that is interrupted: its points finish their step, and go on there."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from applications.nas._lane import Failure
from applications.nas.cli import main
from applications.nas.jobs import Job
from applications.nas.stopping import Stopped
from applications.nas.sweep.launch import call as call_module
from applications.nas.sweep.launch.call import ClusterCall
from applications.nas.sweep.launch.place import Claim, Place
from tests.nas.torchrun import wait_for

WORDS = "sweep digits --vary seed 0 1 --out mine --epochs 40 --batch 78 --checkpoint.share 1 --supernet.nodes 1"
WORDS += " --supernet.channels 2 --supernet.layers 3 formulation:single"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")


def test_ctrl_c_lets_points_finish_their_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Real worker processes: the exit code, the message, and that the point goes on where it was."""
    point = tmp_path / "mine" / "seed=0"

    def interrupt(after: int) -> None:
        wait_for(lambda: (point / "metrics.csv").is_file() and len(steps(point)) > after)
        os.kill(os.getpid(), signal.SIGINT)

    done = 0
    for _ in range(2):
        thread = threading.Thread(target=interrupt, args=(done,))
        thread.start()
        assert main(WORDS.split()) == 130
        thread.join()
        err = capsys.readouterr().err.splitlines()
        told = "stopped by Ctrl-C with 0 of 2 points finished"
        assert err[-1] == f"{told}; the same command again, or `mlo-nas sweep --resume mine`, goes on"
        assert len(steps(point)) > done
        done = len(steps(point))
    (resumed,) = json.loads((point / "environment.json").read_text())["resumed"]
    assert 0 < resumed["after step"] < done
    numbers = [float(line.partition(",")[0]) for line in steps(point)]
    assert numbers == list(range(1, done + 1)), "no gaps, no doubles"
    assert not (point / "failure.txt").exists()
    assert not (tmp_path / "mine" / "seed=1").exists(), "one worker, and it was busy"


def steps(point: Path) -> list[str]:
    return (point / "metrics.csv").read_text().splitlines()[1:]


# ---------------------------------------------------------------- jobs of a scheduler


def stopped_by(number: int, reporter: object) -> None:
    raise Stopped(f"stopped by {number}", number)


@pytest.mark.parametrize("slurm", [False, True])
def test_a_job_that_is_stopped(slurm: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has not failed; under Slurm it says nothing, for Slurm may queue it again."""
    pytest.importorskip("submitit")
    place = Place(tmp_path / "jobs" / "a")
    place.write_claim(Claim("this", "slurm" if slurm else "submitit-local", "here"))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    call = ClusterCall(Job("a", stopped_by, (signal.SIGTERM,)), place, "this", 1)
    before = signal.getsignal(signal.SIGTERM)
    try:
        if slurm:
            monkeypatch.setenv("SLURM_JOB_ID", "7")
            with pytest.raises(SystemExit) as ended:
                call()
            assert ended.value.code == 143
            assert place.outcome("this") is False
        else:
            call()
            outcome = place.outcome("this")
            assert isinstance(outcome, Failure)
            assert isinstance(outcome.error, Stopped)
            assert (outcome.error.number, str(outcome)) == (signal.SIGTERM, "stopped by 15")
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_warning_of_the_scheduler_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the step is kept, submitit's own handler queues the job again."""
    pytest.importorskip("submitit")
    place, heard = Place(tmp_path / "jobs" / "a"), []
    place.write_claim(Claim("this", "slurm", "here"))
    before = signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    monkeypatch.setattr(call_module.signal, "signal", lambda *_: None)
    try:
        ClusterCall(Job("a", stopped_by, (signal.SIGUSR2,)), place, "this", 1)()
    finally:
        monkeypatch.undo()
        signal.signal(signal.SIGUSR2, before)
    assert heard == [signal.SIGUSR2]
