"""Work in processes: results in order, errors that reach the caller with the job's name, and no hang."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console

from applications.nas._lane import Failure
from applications.nas.jobs import Job, Reporter, run_jobs, try_jobs
from applications.nas.progress import Tick
from mlo import ConfigError, DivergenceError, MLOError

pytestmark = pytest.mark.timeout(120)  # a hang is a failure


def square(number: int, pause: float, tick: Reporter) -> tuple[int, int]:
    time.sleep(pause)
    tick.begin("part")(1, 2, "")
    tick(1, 1, f"square of {number}")
    return number**2, torch.get_num_threads()


def fail(tick: Tick) -> None:
    error = DivergenceError("the loss of problem 'w' is nan")
    error.add_note("in outer step 3 of the engine")
    raise error


def leave_a_mark(file: Path, tick: Tick) -> None:
    time.sleep(0.3)
    file.touch()


def die(tick: Tick) -> None:
    os._exit(1)


def kill(tick: Tick) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def odd(tick: Tick) -> None:
    raise KeyError("two lines")


def sleep_long(started: Path, ended: Path, tick: Tick) -> None:
    started.touch()
    time.sleep(100)
    ended.touch()


def interrupt_when_there(file: Path) -> None:
    while not file.exists():
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)


def test_results_are_in_order_and_progress_is_shown() -> None:
    log = io.StringIO()
    jobs = [Job(f"job {number}", square, (number, pause)) for number, pause in ((3, 0.5), (4, 0.0), (5, 0.0))]
    assert run_jobs(jobs, Console(file=log, width=200), workers=2) == [(9, 1), (16, 1), (25, 1)], "one thread each"
    assert all(f"job {number}: 1/1, 0 s left; square of {number}" in log.getvalue() for number in (3, 4, 5))


def test_an_error_reaches_the_caller_and_drops_what_has_not_begun(tmp_path: Path) -> None:
    jobs = [Job("good", square, (3, 0.0)), Job("bad", fail, ())]
    jobs += [Job(f"later {number}", leave_a_mark, (tmp_path / str(number),)) for number in range(6)]
    threads = threading.active_count()
    with pytest.raises(DivergenceError, match="problem 'w' is nan") as caught:
        run_jobs(jobs, Console(file=io.StringIO()), workers=1)
    assert caught.value.__notes__ == ["in outer step 3 of the engine", "in the job 'bad'"]
    assert not (tmp_path / "5").exists()
    assert threading.active_count() == threads


def test_a_worker_that_dies_is_no_hang() -> None:
    with pytest.raises(MLOError, match=r"a worker process died.*fewer --workers"):
        run_jobs([Job("deadly", die, ())], Console(file=io.StringIO()), workers=1)


def test_no_worker_at_all_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        run_jobs([], Console(file=io.StringIO()), workers=0)


def test_no_job_at_all() -> None:
    assert run_jobs([], Console(file=io.StringIO()), workers=2) == []


def test_failures_do_not_end_the_others() -> None:
    """An error of the library, one that is none, and a killed process: each is the result of its own job alone."""
    log, ended = io.StringIO(), []
    jobs = [Job("bad", fail, ()), Job("killed", kill, ()), Job("odd", odd, ()), Job("good", square, (3, 0.0))]
    threads = threading.active_count()
    found = try_jobs(
        jobs, Console(file=log, width=200), workers=1, whole="all", ended=lambda index, _: ended.append(index)
    )
    assert [isinstance(one, Failure) for one in found] == [True, True, True, False]
    assert str(found[0]) == "the loss of problem 'w' is nan (in outer step 3 of the engine)"
    assert "a worker process died" in str(found[1])
    assert str(found[2]) == "KeyError: 'two lines'", "a class that says what it is, and one line"
    assert found[3] == (9, 1)
    assert ended == [0, 1, 2, 3]
    assert "all: 0/4" in log.getvalue()
    assert "all: 4/4, 0 s left; 3 failed" in log.getvalue()
    assert "good, part: 1/2" in log.getvalue()
    assert threading.active_count() == threads


def test_an_interrupt_ends_what_runs(tmp_path: Path) -> None:
    """Ctrl-C reaches the main thread alone; workers that would go on for long are ended by it."""
    started = time.monotonic()
    watch = threading.Thread(target=interrupt_when_there, args=(tmp_path / "started",))
    watch.start()
    jobs = [Job("long", sleep_long, (tmp_path / "started", tmp_path / "ended")), Job("later", square, (1, 0.0))]
    with pytest.raises(KeyboardInterrupt):
        try_jobs(jobs, Console(file=io.StringIO()), workers=1, whole="all")
    watch.join()
    assert time.monotonic() - started < 60
    assert not (tmp_path / "ended").exists()
