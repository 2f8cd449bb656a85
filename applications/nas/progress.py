"""Progress with an estimate of the time left: bars on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

Tick = Callable[[int, int, str], None]
"""(done, total, text): called as work goes on."""

_LINES = 5


def silent(done: int, total: int, text: str) -> None:
    """Show nothing."""


class AbstractLine(ABC):
    """The progress of one piece of work: a `Tick` that can be taken off the screen."""

    @abstractmethod
    def __call__(self, done: int, total: int, text: str) -> None:
        """Show how far it is."""

    @abstractmethod
    def end(self) -> None:
        """Make room for others; what a log shows stays."""


@contextmanager
def progress(console: Console) -> Iterator[Callable[[str], AbstractLine]]:
    """Show the progress of several pieces of work.

    Args:
        console: Where.

    Yields:
        A function that begins a piece of work by its label and returns what to call as it goes on.
    """
    if not console.is_terminal:
        yield lambda label: _PlainLines(console, label)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console) as bars:
        yield lambda label: _Bar(bars, bars.add_task(label, total=None, text=""))


class _Bar(AbstractLine):
    """One line of a `rich` display."""

    def __init__(self, bars: Progress, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def __call__(self, done: int, total: int, text: str) -> None:
        self._bars.update(self._task, completed=done, total=total, text=text)

    def end(self) -> None:
        self._bars.update(self._task, visible=False)


class _PlainLines(AbstractLine):
    """A line at the start of each fifth of the work, for logs."""

    def __init__(self, console: Console, label: str) -> None:
        self._console, self._label = console, label
        self._start, self._shown = time.monotonic(), -1

    def __call__(self, done: int, total: int, text: str) -> None:
        part = done * _LINES // max(total, 1)
        if part > self._shown:
            self._shown = part
            spent = time.monotonic() - self._start
            left = f", {spent / done * (total - done):.0f} s left" if done else ""
            line = f"{self._label}: {done}/{total}{left}{'; ' + text if text else ''}"
            self._console.print(line, highlight=False, soft_wrap=True)

    def end(self) -> None:
        """Nothing: a log has no bars."""
