"""Jobs as processes of this machine that outlive the program which launched them, by submitit."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from applications.nas.sweep.launch.call import ClusterCall
from applications.nas.sweep.launch.engine import AbstractEngine, load_submitit, refused
from applications.nas.sweep.launch.place import Claim, Place
from applications.nas.sweep.launch.uninterrupted import uninterrupted

SUBMITIT_LOCAL = "submitit-local"
_MINUTES = 60 * 24 * 365  # submitit wants a time limit
_GRACE = 60.0  # seconds for a process that only begins to see that it was called off


@final
class SubmititLocalEngine(AbstractEngine):
    """submitit's local executor: a process for each job, and one that looks after it."""

    def __init__(self, workers: int, gpus: tuple[int, ...]) -> None:
        """Make an engine.

        Args:
            workers: Jobs at a time.
            gpus: Numbers of the GPUs; each job gets the one that fewest others use.

        Raises:
            ConfigError: If submitit is not installed.
        """
        self._submitit = load_submitit(SUBMITIT_LOCAL)
        self.workers, self.gpus = workers, gpus
        self._jobs: dict[str, Any] = {}
        self._gpu_of: dict[str, int] = {}

    @property
    def name(self) -> str:
        """What the command line calls it."""
        return SUBMITIT_LOCAL

    @property
    def here(self) -> bool:
        """Whether jobs run on this machine: they do."""
        return True

    @property
    def threads(self) -> int:
        """Threads of a job: one, as of a worker process."""
        return 1

    @property
    def pause(self) -> float:
        """Seconds between two looks at the jobs."""
        return 0.5

    @property
    def patience(self) -> float:
        """Seconds for which a file may not be seen here yet: none on one machine."""
        return 0.0

    def room(self, running: int) -> int:
        """Return how many more jobs it takes."""
        return max(0, self.workers - running)

    def submit(self, calls: Sequence[ClusterCall], logs: Path) -> list[str]:
        """Take jobs; see `AbstractEngine.submit`."""
        names: list[str] = []
        for call in calls:
            executor = self._submitit.LocalExecutor(logs)
            gpu = self._next_gpu()
            # An empty tuple of visible GPUs would mean all of them, but for the number that is asked for.
            seen: dict[str, Any] = {} if gpu is None else {"gpus_per_node": 1, "visible_gpus": (gpu,)}
            executor.update_parameters(timeout_min=_MINUTES, stderr_to_stdout=True, **seen)
            try:
                job = executor.submit(call)
            except (OSError, RuntimeError) as error:
                raise refused(self.name, error) from error
            self._jobs[job.job_id] = job
            if gpu is not None:
                self._gpu_of[job.job_id] = gpu
            names.append(job.job_id)
        return names

    def alive(self, names: Collection[str]) -> Collection[str]:
        """Return those of our jobs whose process runs; those of a program before hold their lock, which tells more."""
        return {name for name in names if name in self._jobs and not self._jobs[name].done()}

    def cancel(self, claims: Sequence[tuple[Place, Claim]]) -> None:
        """End jobs; those that have not begun their work see by themselves that they were called off.

        Each is asked once, and has a minute for its step; then it is killed, as at a second Ctrl-C.
        """
        left = [(place, claim) for place, claim in claims if claim.host == socket.gethostname()]
        with suppress(KeyboardInterrupt):
            left = self._wait(left, signal.SIGTERM, set())
        with uninterrupted():
            self._wait(left, signal.SIGKILL, set())

    def _wait(self, left: list[tuple[Place, Claim]], number: int, sent: set[int]) -> list[tuple[Place, Claim]]:
        """Send a signal once to each process that works, and wait; return the jobs that have not ended in time."""
        end = time.monotonic() + _GRACE
        while left and time.monotonic() < end:
            for place, _ in left:
                worker = place.worker()
                if worker is not None and worker not in sent and place.busy():
                    sent.add(worker)
                    with suppress(OSError):  # it has just ended
                        os.kill(worker, number)
            left = [(place, claim) for place, claim in left if self.alive([claim.job]) or place.busy()]
            time.sleep(0.1)
        return left

    def fault(self, name: str) -> tuple[str, str]:
        """Return what can be said about a job that died."""
        return "", "if memory was short, use fewer --workers; resume the sweep to try again"

    def _next_gpu(self) -> int | None:
        used = [self._gpu_of.get(name) for name in self.alive(self._jobs)]
        return min(self.gpus, key=used.count) if self.gpus else None
