"""Points as jobs of a scheduler."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import final

from rich.console import Console

from applications.nas.jobs import Job, Lines
from applications.nas.progress import progress
from applications.nas.sweep.launch.base import AbstractLauncher, Ended
from applications.nas.sweep.launch.desk import Desk
from applications.nas.sweep.launch.engine import AbstractEngine


@final
class ClusterLauncher(AbstractLauncher):
    """Hands jobs to an engine; jobs that one before it launched and that still run are waited for, not run twice."""

    def __init__(self, engine: AbstractEngine) -> None:
        """Make a launcher.

        Args:
            engine: What runs the jobs.
        """
        self.engine = engine

    @property
    def here(self) -> bool:
        """Whether jobs run on this machine."""
        return self.engine.here

    def launch(self, jobs: Sequence[Job], folder: Path, console: Console, *, whole: str, ended: Ended) -> None:
        """Run jobs; see `AbstractLauncher.launch`."""
        desk = Desk(self.engine, jobs, folder, ended)
        adopted = desk.adopt()
        if adopted:
            told = f"launched before, and waited for now: {', '.join(adopted)}"
            console.print(told, highlight=False, markup=False, soft_wrap=True)
        try:
            with progress(console) as begin:
                _follow(desk, Lines(begin), whole)
        except BaseException:
            count = desk.cancel()
            if count:
                console.print(f"jobs cancelled: {count}", highlight=False)
            raise


def _follow(desk: Desk, lines: Lines, whole: str) -> None:
    """Look at the jobs again and again until all have ended."""
    while True:
        desk.submit()
        for label in desk.collect():
            lines.end(label)
        for message in desk.progress():
            lines.show(message)
        done, total, failed = desk.count()
        lines.show((whole, done, total, f"{failed} failed" if failed else ""))
        if done == total:
            return
        time.sleep(desk.engine.pause)
