"""The rules by which a sweep and its jobs find each other, with an engine that is made up."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from applications.nas._lane import Failure
from applications.nas.jobs import Job, Reporter
from applications.nas.lock import is_locked, locked
from applications.nas.sweep.launch import local
from applications.nas.sweep.launch import uninterrupted as module
from applications.nas.sweep.launch.call import ClusterCall
from applications.nas.sweep.launch.desk import Desk
from applications.nas.sweep.launch.engine import AbstractEngine
from applications.nas.sweep.launch.local import LocalLauncher
from applications.nas.sweep.launch.place import Claim, Place
from applications.nas.sweep.launch.running import call_off
from mlo import ConfigError, DataError, DivergenceError

HERE = Claim("first", "made-up", "here")


def fail(reporter: Reporter) -> None:
    raise DivergenceError("the loss is nan")


def leave(file: Path, reporter: Reporter) -> None:
    reporter(1, 2, "on")
    file.touch()


class MadeUp(AbstractEngine):
    """An engine that keeps what it is given."""

    name, here, threads, pause, patience = "made-up", False, 1, 0.0, 0.0

    def __init__(self, room: int = 9) -> None:
        self.most = room
        self.calls: list[ClusterCall] = []
        self.living: set[str] = set()
        self.cancelled: list[str] = []
        self.refusal: ConfigError | None = None

    def room(self, running: int) -> int:
        return self.most - running

    def submit(self, calls: Sequence[ClusterCall], logs: Path) -> list[str]:
        if self.refusal is not None:
            raise self.refusal
        first = len(self.calls)
        self.calls += calls
        names = [str(number) for number in range(first, len(self.calls))]
        self.living.update(names)
        return names

    def alive(self, names: Collection[str]) -> Collection[str]:
        return self.living.intersection(names)

    def cancel(self, claims: Sequence[tuple[Place, Claim]]) -> None:
        self.cancelled += [claim.job for _, claim in claims]

    def fault(self, name: str) -> tuple[str, str]:
        return " (nobody knows why)", "try again"

    def run(self, number: int) -> None:
        self.calls[number]()
        self.living.discard(str(number))


class Office:
    """A desk over made-up jobs, with all that it tells."""

    def __init__(self, folder: Path, engine: MadeUp, count: int = 3) -> None:
        self.jobs = [Job(f"point {number}", leave, (folder / f"ran-{number}",)) for number in range(count)]
        self.ended: dict[int, Any] = {}
        self.desk = Desk(engine, self.jobs, folder / "sweep", self.ended.__setitem__)
        self.places = [Place(folder / "sweep" / "jobs" / job.label) for job in self.jobs]


def test_jobs_from_submission_to_their_ends(tmp_path: Path) -> None:
    engine = MadeUp(room=2)
    office = Office(tmp_path, engine)
    assert office.desk.adopt() == []
    office.desk.submit()
    assert len(engine.calls) == 2
    assert office.desk.collect() == []
    engine.run(1)
    assert office.desk.progress() == [("point 1", 1, 2, "on")]
    assert office.desk.collect() == ["point 1"]
    office.desk.submit()
    engine.living.clear()
    engine.run(2)
    assert office.desk.collect() == ["point 0", "point 2"]
    assert office.ended[1] is office.ended[2] is None
    told = str(office.ended[0])
    assert told.startswith("the job 0 died (nobody knows why); there is no log ")
    assert told.endswith("0_0_log.out: try again")
    assert office.desk.count() == (3, 3, 1)


def test_a_job_that_has_been_replaced_or_called_off_does_nothing(tmp_path: Path) -> None:
    """As one that its scheduler held back while another program resumed the sweep, not knowing of it."""
    first, second = MadeUp(), MadeUp()
    office = Office(tmp_path, first, 2)
    office.desk.submit()
    first.living.clear()
    Office(tmp_path, second, 2).desk.submit()
    first.calls[0]()
    assert not (tmp_path / "ran-0").exists()
    call_off({"point 1": office.places[1]})
    second.calls[1]()
    assert not (tmp_path / "ran-1").exists()
    second.calls[0]()
    assert (tmp_path / "ran-0").exists()
    assert office.desk.progress() == [("point 0", 1, 2, "on")]
    Office(tmp_path, MadeUp(), 2).desk.submit()
    assert office.desk.progress() == [], "what is over is not shown as the progress of a new attempt"
    second.calls[0].place.write_outcome(second.calls[0].attempt, None)
    assert office.places[0].outcome(first.calls[0].attempt) is False, "an outcome is that of one attempt"
    assert office.places[0].outcome(second.calls[0].attempt) is True


def test_workers_call_off_jobs_that_are_only_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is still importing holds no lock yet, and the program that launched it is gone."""
    engine = MadeUp()
    office = Office(tmp_path, engine, 1)
    office.desk.submit()
    seen: list[bool] = []

    def work(*given: object, **options: object) -> None:
        engine.calls[0]()
        seen.append((tmp_path / "ran-0").exists())

    monkeypatch.setattr(local, "try_jobs", work)
    LocalLauncher(1).launch(office.jobs, tmp_path / "sweep", Console(file=io.StringIO()), whole="all", ended=print)
    assert seen == [False]


def test_jobs_are_adopted_by_their_lock(tmp_path: Path) -> None:
    engine = MadeUp()
    office = Office(tmp_path, engine, 2)
    office.desk.submit()
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import fcntl, sys; f = open({str(office.places[1].lock)!r}, 'a'); "
         "fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        again = Office(tmp_path, MadeUp(), 2)
        assert again.desk.adopt() == ["point 1"]
        again.desk.submit()
        assert again.desk.collect() == [], "a job whose lock is held lives, whatever the engine says"
        refused = Desk(type("Other", (MadeUp,), {"name": "other"})(), office.jobs, tmp_path / "sweep", print)
        with pytest.raises(ConfigError, match="point 1: the job 1 of launcher:made-up works on it: resume with launch"):
            refused.adopt()
    engine.run(1)
    assert "point 1" in again.desk.collect()


def test_a_first_refusal_is_an_error_and_a_later_one_a_failure(tmp_path: Path) -> None:
    engine = MadeUp(room=1)
    office = Office(tmp_path, engine, 2)
    engine.refusal = ConfigError("no such partition")
    with pytest.raises(ConfigError, match="no such partition"):
        office.desk.submit()
    assert office.places[0].claim() is None, "an engine that took it all the same finds it called off"
    engine.refusal = None
    office.desk.submit()
    engine.run(0)
    office.desk.collect()
    engine.refusal = ConfigError("closed for the night")
    office.desk.submit()
    assert str(office.ended[1]) == "closed for the night"
    assert office.desk.count() == (2, 2, 1)


def test_cancelling_calls_off_what_the_engine_has(tmp_path: Path) -> None:
    engine = MadeUp(room=2)
    office = Office(tmp_path, engine)
    office.desk.submit()
    assert office.desk.cancel() == 2
    assert engine.cancelled == ["0", "1"]
    assert [place.claim() for place in office.places] == [None, None, None]


def test_a_failure_crosses_as_text(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.write_claim(HERE)
    ClusterCall(Job("a", fail, ()), place, "first", 1)()
    found = place.outcome("first")
    assert isinstance(found, Failure)
    assert (str(found), found.origin()) == ("the loss is nan", "")
    (tmp_path / "outcome.json").write_text("{")
    with pytest.raises(DataError, match=r"outcome\.json is not JSON .*remove the file, and resume the sweep"):
        place.outcome("first")


def test_a_job_whose_time_ran_out_for_good(tmp_path: Path) -> None:
    """submitit says so by an error that it raises wherever the job is."""
    from submitit.core.utils import UncompletedJobError

    def late(reporter: Reporter) -> None:
        raise UncompletedJobError("Job not requeued because: timed-out too many times.")

    place = Place(tmp_path)
    place.write_claim(HERE)
    call = ClusterCall(Job("a", late, ()), place, "first", 1)
    call()
    told = str(place.outcome("first"))
    assert told.startswith("it did not end within its time (")
    assert told.endswith("give --launcher.hours more")
    assert call.checkpoint().function is call, "or submitit would not queue it again"


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": [1, 2]}', '{"a": ["x", 2, ""]}'])
def test_broken_progress_shows_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "progress.json").write_text(text)
    assert Place(tmp_path).progress() == []


def test_a_lock_is_waited_for_and_given_back(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "lock")
    with locked(tmp_path / "lock") as first, locked(tmp_path / "lock", 0.3) as second:
        assert (first, second) == (True, False)
        assert is_locked(tmp_path / "lock")
    assert not is_locked(tmp_path / "lock")


def test_an_interrupt_waits_for_the_end_of_a_moment() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), module.uninterrupted():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        signal.sigpending()
        done.append(1)
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
