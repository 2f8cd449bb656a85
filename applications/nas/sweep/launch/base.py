"""What a sweep asks of whatever runs its points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from applications.nas.jobs import Job

Ended = Callable[[int, Any], None]
"""Called with the number of a job, and a `Failure` if it failed, as soon as it has ended."""


class AbstractLauncher(ABC):
    """Runs jobs, each in a process of its own; one that fails, or dies, does not end the others.

    What a job returns is dropped: all that it makes lies in its folder.
    """

    @property
    @abstractmethod
    def here(self) -> bool:
        """Whether jobs run on this machine, so that what it lacks they lack."""

    @abstractmethod
    def launch(self, jobs: Sequence[Job], folder: Path, console: Console, *, whole: str, ended: Ended) -> None:
        """Run jobs, and return when all have ended.

        Whatever ends this early, such as Ctrl-C, ends the jobs.

        Args:
            jobs: What to do, under labels that are names of folders; all picklable.
            folder: Of the sweep.
            console: Where progress is shown.
            whole: What to call the progress of all jobs together.
            ended: Told of each job that has ended.

        Raises:
            ConfigError: If nothing can be launched; then nothing has run.
        """
