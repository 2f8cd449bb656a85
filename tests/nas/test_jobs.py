"""Work in processes: results in order, errors that reach the caller with the job's name, and no hang."""

from __future__ import annotations

import io
import os
import threading
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console

from applications.nas.jobs import Job, run_jobs
from applications.nas.progress import Tick
from mlo import DivergenceError, MLOError

pytestmark = pytest.mark.timeout(120)  # a hang is a failure


def square(number: int, pause: float, tick: Tick) -> tuple[int, int]:
    time.sleep(pause)
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
    with pytest.raises(ValueError, match="max_workers"):
        run_jobs([], Console(file=io.StringIO()), workers=0)
