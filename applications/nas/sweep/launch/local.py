"""Points in worker processes of this program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

from rich.console import Console

from applications.nas.jobs import Job, try_jobs
from applications.nas.sweep.launch.base import AbstractLauncher, Ended
from applications.nas.sweep.launch.place import JOBS, Place
from applications.nas.sweep.launch.running import call_off, jobs_alive, refuse_running


@final
class LocalLauncher(AbstractLauncher):
    """Worker processes of one thread each, which end with this program."""

    def __init__(self, workers: int) -> None:
        """Make a launcher.

        Args:
            workers: How many processes.
        """
        self.workers = workers

    @property
    def here(self) -> bool:
        """Whether jobs run on this machine: they do."""
        return True

    def launch(self, jobs: Sequence[Job], folder: Path, console: Console, *, whole: str, ended: Ended) -> None:
        """Run jobs; see `AbstractLauncher.launch`."""
        places = {job.label: Place(folder / JOBS / job.label) for job in jobs}
        refuse_running(jobs_alive(places))
        call_off(places)  # a process that is only starting is not seen alive, and now finds nothing to do
        refuse_running(jobs_alive(places))  # but for one that has just begun
        try_jobs(jobs, console, workers=self.workers, whole=whole, ended=ended)
