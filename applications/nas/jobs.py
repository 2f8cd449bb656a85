"""Independent pieces of work side by side, one process each, with their progress in one place."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.managers import SyncManager
from queue import Queue
from typing import Any, Protocol

import torch
from rich.console import Console

from applications.nas._lane import Failure, Lane, end
from applications.nas.progress import AbstractLine, progress
from mlo import ConfigError

Message = tuple[str, int, int, str]
_ENDED = -1


class Sink(Protocol):
    """Takes messages to where progress is shown, from another process or another machine."""

    def put(self, message: Message, /) -> None:
        """Take a message: label, done, total, text."""


@dataclass(frozen=True)
class Job:
    """A call `function(*arguments, tick)` under a label; function and arguments must be picklable.

    `tick` is a `Reporter`: it can be called as a `Tick`, or asked to begin several pieces of work.
    """

    label: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class Reporter:
    """Tells the process that shows progress how far a job is."""

    def __init__(self, sink: Sink, label: str) -> None:
        """Report to a sink, such as a queue, under a label."""
        self._sink, self._label = sink, label

    def __call__(self, done: int, total: int, text: str) -> None:
        """Tell how far it is."""
        self._sink.put((self._label, done, total, text))

    def begin(self, label: str) -> Reporter:
        """Begin a piece of the job with a line of progress of its own."""
        return Reporter(self._sink, f"{self._label}, {label}")


class Lines:
    """The lines of progress of several jobs."""

    def __init__(self, begin: Callable[[str], AbstractLine]) -> None:
        """Show them with what `progress` yields."""
        self._begin = begin
        self._lines: dict[str, AbstractLine] = {}

    def show(self, message: Message) -> None:
        """Show a message of a job, on the line of its label."""
        label, done, total, text = message
        if label not in self._lines:
            self._lines[label] = self._begin(label)
        self._lines[label](done, total, text)

    def end(self, label: str) -> None:
        """Take the lines of a job off the screen."""
        for name in [name for name in self._lines if name == label or name.startswith(f"{label}, ")]:
            self._lines.pop(name).end()


def run_jobs(jobs: Sequence[Job], console: Console, *, workers: int) -> list[Any]:
    """Run jobs in processes of one thread each.

    Args:
        jobs: What to do; each begins as soon as a worker is free, in order.
        console: Where progress is shown.
        workers: How many run at a time.

    Returns:
        Their results, in the order of `jobs`.

    Raises:
        ConfigError: If there is no worker.
        Exception: The first error of a job, with a note that names it; jobs that have not begun are dropped, those that
            run are waited for.
    """
    found: dict[int, Any] = {}
    with _shown(console) as (queue, _):
        for index, outcome in _outcomes(jobs, queue, workers, stop_at_failure=True):
            found[index] = outcome
    for index in sorted(found):
        outcome = found[index]
        if isinstance(outcome, Failure):
            outcome.error.add_note(f"in the job {jobs[index].label!r}")
            raise outcome.error
    return [found[index] for index in range(len(jobs))]


def try_jobs(
    jobs: Sequence[Job],
    console: Console,
    *,
    workers: int,
    whole: str,
    ended: Callable[[int, Any], None] = lambda index, outcome: None,
) -> list[Any]:
    """Run jobs in processes of one thread each; one that fails, or whose process dies, does not end the others.

    Args:
        jobs: What to do; each begins as soon as a worker is free, in order.
        console: Where progress is shown: a line for each job that runs, and one for all of them.
        workers: How many run at a time.
        whole: What to call the line for all of them.
        ended: Called with the number of a job and its result or `Failure` as soon as it has ended.

    Returns:
        Their results, in the order of `jobs`; a `Failure` in the place of a job that failed.

    Raises:
        ConfigError: If there is no worker.
    """
    found: dict[int, Any] = {}
    with _shown(console) as (queue, begin):
        line = begin(whole)
        line(0, len(jobs), "")
        for index, outcome in _outcomes(jobs, queue, workers, stop_at_failure=False):
            found[index] = outcome
            queue.put((jobs[index].label, _ENDED, 0, ""))
            ended(index, outcome)
            failed = sum(isinstance(one, Failure) for one in found.values())
            line(len(found), len(jobs), f"{failed} failed" if failed else "")
    return [found[index] for index in range(len(jobs))]


def _outcomes(
    jobs: Sequence[Job], queue: Queue[Message | None], workers: int, *, stop_at_failure: bool
) -> Iterator[tuple[int, Any]]:
    """Yield the number of each job and its result or `Failure`, as they end."""
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    waiting, ended = iter(list(enumerate(jobs))), Queue[tuple[int, Any] | None]()
    lock, stop = threading.Lock(), threading.Event()

    def take() -> tuple[int, Callable[..., Any], tuple[Any, ...]] | None:
        with lock:
            index, job = next(waiting, (0, None))
        if job is None or stop.is_set():
            return None
        return index, _call, (job, Reporter(queue, job.label))

    lanes = [Lane(_begin, take, ended.put) for _ in range(min(workers, len(jobs)))]
    for lane in lanes:
        lane.start()
    try:
        left = len(lanes)
        while left:
            message = ended.get()
            if message is None:
                left -= 1
                continue
            if stop_at_failure and isinstance(message[1], Failure):
                stop.set()
            yield message
    except BaseException:  # Ctrl-C, or an error where the outcomes go: the workers end with it, after their step
        stop.set()
        end(lanes)
        raise


@contextmanager
def _shown(console: Console) -> Iterator[tuple[Queue[Message | None], Callable[[str], AbstractLine]]]:
    """Show what is put into a queue that other processes can reach."""
    manager = SyncManager(ctx=multiprocessing.get_context("spawn"))
    manager.start(_follow_parent)
    with manager, progress(console) as begin:
        queue: Queue[Message | None] = manager.Queue()
        listener = threading.Thread(target=_listen, args=(queue, begin), daemon=True)
        listener.start()
        try:
            yield queue, begin
        finally:
            queue.put(None)
            listener.join()


def _begin() -> None:
    """Prepare a worker: one thread, and an end with its parent."""
    torch.set_num_threads(1)
    _follow_parent()


def _follow_parent() -> None:
    """End this process when the one that started it ends, however that comes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(job: Job, reporter: Reporter) -> Any:
    return job.function(*job.arguments, reporter)


def _listen(queue: Queue[Message | None], begin: Callable[[str], AbstractLine]) -> None:
    lines = Lines(begin)
    while (message := queue.get()) is not None:
        if message[1] == _ENDED:
            lines.end(message[0])
        else:
            lines.show(message)
