"""Ctrl-C and SIGTERM: the step in flight is finished and kept, and the program ends with a known code."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, final

import torch

from applications.nas import launch
from applications.nas.launch import Ranks
from mlo import MLOError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAME = 1.0  # seconds: torchrun and terminals send one wish to stop twice


class Stopped(MLOError):
    """A run was asked to stop, and has kept all that it did.

    Attributes:
        number: Of the signal.
    """

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        """Say where it stopped and how it goes on."""
        super().__init__(message, int(number))
        self.number = int(number)

    def __str__(self) -> str:
        """Return the message."""
        return str(self.args[0])

    @property
    def code(self) -> int:
        """The exit code: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + self.number


class Terminated(KeyboardInterrupt):
    """SIGTERM came for the second time: an interrupt whose exit code is 143."""


@final
class Stopper:
    """Knows whether a run is asked to stop.

    Attributes:
        number: Of the signal that asked first; None before.
    """

    def __init__(self) -> None:
        """Nobody has asked."""
        self.number: int | None = None
        self._since = 0.0

    def asked(self, ranks: Ranks = Ranks()) -> int | None:
        """Return the signal that asks to stop, or None; of several ranks all must call this, and all get the same."""
        if ranks.world == 1:
            return self.number
        numbers = torch.zeros(ranks.world, dtype=torch.int64)
        numbers[ranks.rank] = self.number or 0
        ranks.add(numbers)
        return int(numbers.max()) or None

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Take a signal: the first is a wish, and a second one, a second later or more, stops at once."""
        if self.number is None:
            self.number, self._since = number, time.monotonic()
            with suppress(OSError):
                if launch.first() and multiprocessing.parent_process() is None:  # not each rank, nor each worker
                    os.write(2, b"stopping after this step, which is kept; once more to stop at once\n")
        elif number in SIGNALS and time.monotonic() - self._since >= _SAME:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


@contextmanager
def stoppable(also: Sequence[signal.Signals] = ()) -> Iterator[Stopper]:
    """Let Ctrl-C and SIGTERM ask for the end of the body in place of ending it.

    In a thread other than the main one, signals are somebody else's, and nothing asks. A signal that is ignored,
    as Ctrl-C is by what a script starts in the background, stays so.

    Args:
        also: Other signals that ask for it, such as a scheduler's warning; however often they come, nothing stops at
            once.

    Yields:
        What knows whether to stop; the body looks at it after each step.
    """
    stopper = Stopper()
    if threading.current_thread() is not threading.main_thread():
        yield stopper
        return
    heard = [one for one in (*SIGNALS, *also) if signal.getsignal(one) != signal.SIG_IGN]
    before: dict[signal.Signals, Any] = {one: signal.signal(one, stopper.receive) for one in heard}
    try:
        yield stopper
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        with suppress(OSError, ValueError, AttributeError):  # it is closed, or was never there
            sys.stderr.flush()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM interrupt the body as Ctrl-C does, by `Terminated`; for the main thread."""
    before: Any = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Terminated


def signal_name(number: int) -> str:
    """Return what to call a signal in a message."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
