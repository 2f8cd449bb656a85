"""Independent pieces of work side by side, one process each, with their progress in one place."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing.managers import SyncManager
from queue import Queue
from typing import Any

import torch
from rich.console import Console

from applications.nas.progress import Tick, progress
from mlo import MLOError

Message = tuple[str, int, int, str]


@dataclass(frozen=True)
class Job:
    """A call `function(*arguments, tick)` under a label; function and arguments must be picklable."""

    label: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def run_jobs(jobs: Sequence[Job], console: Console, *, workers: int) -> list[Any]:
    """Run jobs in processes of one thread each.

    Args:
        jobs: What to do; each begins as soon as a worker is free, in order.
        console: Where progress is shown.
        workers: How many run at a time.

    Returns:
        Their results, in the order of `jobs`.

    Raises:
        Exception: The first error of a job, with a note that names it; jobs that have not begun are dropped, those that
            run are waited for.
    """
    context = multiprocessing.get_context("spawn")
    manager = SyncManager(ctx=context)
    manager.start(_follow_parent)
    with manager, progress(console) as begin:
        queue = manager.Queue()
        listener = threading.Thread(target=_listen, args=(queue, begin), daemon=True)
        listener.start()
        try:
            with ProcessPoolExecutor(workers, context, _begin) as pool:
                futures = [pool.submit(_call, job, queue) for job in jobs]
                try:
                    return _results(jobs, futures)
                except Exception:
                    pool.shutdown(cancel_futures=True)
                    raise
                except BaseException:  # Ctrl-C, which need not have reached the workers: end them too
                    for process in list(pool._processes.values()):
                        process.terminate()
                    pool.shutdown(cancel_futures=True)
                    raise
        finally:
            queue.put(None)
            listener.join()


def _results(jobs: Sequence[Job], futures: Sequence[Future[Any]]) -> list[Any]:
    ended, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for job, future in zip(jobs, futures, strict=True):
        error = future.exception() if future in ended else None
        if isinstance(error, BrokenProcessPool):
            raise MLOError("a worker process died, perhaps for lack of memory: use fewer --workers") from error
        if error is not None:
            error.add_note(f"in the job {job.label!r}")
            raise error
    return [future.result() for future in futures]


def _begin() -> None:
    """Prepare a worker: one thread; Ctrl-C ends it without a traceback, and so does the end of its parent."""
    torch.set_num_threads(1)
    _follow_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _follow_parent() -> None:
    """End this process when the one that started it ends, however that comes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(job: Job, queue: Queue[Message | None]) -> Any:
    return job.function(*job.arguments, partial(_send, queue, job.label))


def _send(queue: Queue[Message | None], label: str, done: int, total: int, text: str) -> None:
    queue.put((label, done, total, text))


def _listen(queue: Queue[Message | None], begin: Callable[[str], Tick]) -> None:
    ticks: dict[str, Tick] = {}
    while (message := queue.get()) is not None:
        label, done, total, text = message
        if label not in ticks:
            ticks[label] = begin(label)
        ticks[label](done, total, text)
