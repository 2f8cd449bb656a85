"""One worker process that does one call after another, and is replaced when it dies."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from mlo import MLOError

_PATIENCE = 60.0  # seconds for a process to finish its step and to keep it

Call = tuple[int, Callable[..., Any], tuple[Any, ...]]


@dataclass(frozen=True, eq=False)
class Failure:
    """What stands in the place of a result.

    Attributes:
        error: Why there is none.
        trace: Where it arose, if that was in another process and the error is none of the library's.
    """

    error: Exception
    trace: str = ""

    def __str__(self) -> str:
        """Write the error on one line, with its notes; its class, too, if it is none of the library's."""
        notes = "".join(f" ({note})" for note in getattr(self.error, "__notes__", ()))
        kind = "" if self._expected else f"{type(self.error).__name__}: "
        return " ".join(f"{kind}{self.error}{notes}".split())

    def origin(self) -> str:
        """Return where the error arose, over several lines; nothing if the error is the library's and says all."""
        if self.trace or self._expected:
            return self.trace
        return "".join(traceback.format_exception(self.error))

    @property
    def _expected(self) -> bool:
        return isinstance(self.error, MLOError | OSError)


class Lane(threading.Thread):
    """A thread that hands calls to a process of its own.

    A pool of several processes does not tell which call killed one of them, and gives all of them up; with one process
    a lane, the call that ran is the one that failed.
    """

    def __init__(
        self,
        prepare: Callable[[], None],
        take: Callable[[], Call | None],
        give: Callable[[tuple[int, Any] | None], None],
    ) -> None:
        """Make a lane.

        Args:
            prepare: Called first in the process.
            take: Returns the number of a call, its function and its arguments, or None if there are no more.
            give: Called with the number and the result or `Failure`; at last with None.
        """
        super().__init__(daemon=True)
        self._prepare, self._take, self._give = prepare, take, give
        self._pool: ProcessPoolExecutor | None = None
        self._asked: set[int | None] = set()

    def run(self) -> None:
        """Make calls until there are no more."""
        if hasattr(signal, "pthread_sigmask"):
            # The process inherits this: Ctrl-C is for the program that shows progress, which then ends the workers.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            while (call := self._take()) is not None:
                index, function, arguments = call
                self._give((index, self._outcome(function, arguments)))
        finally:
            if self._pool is not None:
                self._pool.shutdown()
            self._give(None)

    def ask(self) -> None:
        """Ask the process to end, by one SIGTERM, which it has not been sent before; `take` must give no more."""
        for process in self._processes():
            if process.pid not in self._asked:
                self._asked.add(process.pid)
                process.terminate()

    def kill(self) -> None:
        """End the process, whatever it does, and wait for the thread; `take` must give no more."""
        while self.is_alive():  # again and again, for a process may just be starting
            for process in self._processes():
                process.kill()
            self.join(0.1)

    def _processes(self) -> list[Any]:
        return list((self._pool._processes or {}).values()) if self._pool is not None else []

    def _outcome(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), self._prepare)
        try:
            return self._pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            self._pool.shutdown()
            self._pool = None
            return Failure(MLOError("a worker process died, perhaps for lack of memory: use fewer --workers"))
        except Exception as error:
            return Failure(error)


def end(lanes: Sequence[Lane]) -> None:
    """Ask all processes to end, and wait until they have; kill those that do not in time, or all at a second Ctrl-C.

    Args:
        lanes: Their `take` must give no more.
    """
    try:
        until = time.monotonic() + _PATIENCE
        while any(lane.is_alive() for lane in lanes) and time.monotonic() < until:
            for lane in lanes:
                lane.ask()  # again: a process may have been starting
                lane.join(0.1 / len(lanes))
    except KeyboardInterrupt:
        pass
    for lane in lanes:
        lane.kill()
