"""What is known about the jobs of a sweep: which wait to be submitted, which are, and which have ended."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from applications.nas._lane import Failure
from applications.nas.jobs import Job, Message
from applications.nas.sweep.launch.base import Ended
from applications.nas.sweep.launch.call import ClusterCall
from applications.nas.sweep.launch.engine import AbstractEngine
from applications.nas.sweep.launch.place import JOBS, LOGS, Claim, Place
from applications.nas.sweep.launch.running import call_off, jobs_alive, refuse_running
from applications.nas.sweep.launch.uninterrupted import uninterrupted
from mlo import ConfigError, DataError


class Desk:
    """Hands jobs to an engine and finds out how they end."""

    def __init__(self, engine: AbstractEngine, jobs: Sequence[Job], folder: Path, ended: Ended) -> None:
        """Begin with all jobs waiting.

        Args:
            engine: What runs them.
            jobs: What to do.
            folder: Of the sweep.
            ended: Told of each job that has ended.
        """
        self.engine, self._jobs, self._ended = engine, jobs, ended
        self._logs = folder.absolute() / JOBS / LOGS
        self._places = [Place(folder.absolute() / JOBS / job.label) for job in jobs]
        self._waiting = list(range(len(jobs)))
        self._running: dict[int, Claim] = {}
        self._silent: dict[int, float] = {}  # since when a job is gone and has said nothing
        self._outcomes: dict[int, Failure | None] = {}

    def adopt(self) -> list[str]:
        """Take over the jobs that the engine has from a program that has ended; return their labels.

        Raises:
            ConfigError: If another engine has one of the jobs, or that cannot be found out.
        """
        alive = jobs_alive({job.label: place for job, place in zip(self._jobs, self._places, strict=True)})
        ours = {label: claim for label, claim in alive.items() if claim.engine == self.engine.name}
        # A new job of a point waits by itself for one that was called off to end.
        refuse_running({label: claim for label, claim in alive.items() if label not in ours and claim.engine})
        for index, job in enumerate(self._jobs):
            if job.label in ours:
                self._running[index] = ours[job.label]
                self._waiting.remove(index)
        return list(ours)

    def submit(self) -> None:
        """Submit as many jobs as the engine takes.

        Raises:
            ConfigError: If it takes none, and none has run.
        """
        batch = self._waiting[: self.engine.room(len(self._running))]
        if not batch:
            return
        self._logs.mkdir(parents=True, exist_ok=True)
        claims = [Claim(uuid.uuid4().hex, self.engine.name, socket.gethostname()) for _ in batch]
        calls = [
            ClusterCall(self._jobs[index], self._places[index], claim.attempt, self.engine.threads)
            for index, claim in zip(batch, claims, strict=True)
        ]
        with uninterrupted():
            for index, claim in zip(batch, claims, strict=True):
                self._places[index].write_claim(claim)
                self._places[index].forget()
            try:
                names = self.engine.submit(calls, self._logs)
            except ConfigError as error:
                self._refused(batch, error)
                return
            self._waiting = self._waiting[len(batch) :]
            for index, claim, name in zip(batch, claims, names, strict=True):
                self._running[index] = replace(claim, job=name)
                self._places[index].write_claim(self._running[index])

    def collect(self) -> list[str]:
        """Find out which jobs have ended; return their labels."""
        over = []
        alive = self.engine.alive([claim.job for claim in self._running.values()])
        for index, claim in list(self._running.items()):
            outcome = self._look(index, claim, claim.job in alive)
            if outcome is not False:
                del self._running[index]
                self._end(index, outcome if isinstance(outcome, Failure) else None)
                over.append(self._jobs[index].label)
        return over

    def progress(self) -> list[Message]:
        """Return how far the jobs are."""
        return [message for index in self._running for message in self._places[index].progress()]

    def count(self) -> tuple[int, int, int]:
        """Return how many jobs have ended, how many there are, and how many failed."""
        return len(self._outcomes), len(self._jobs), sum(isinstance(one, Failure) for one in self._outcomes.values())

    def cancel(self) -> int:
        """Call off all jobs and end those that the engine has; return how many it had."""
        with uninterrupted():
            call_off({self._jobs[index].label: self._places[index] for index in self._running})
        self.engine.cancel([(self._places[index], claim) for index, claim in self._running.items()])
        return len(self._running)

    def _look(self, index: int, claim: Claim, alive: bool) -> Failure | bool:
        """Return how a job has ended: True if well, False if it has not."""
        place = self._places[index]
        # In this order: a job that ends in between is found at the next look, and not taken for dead.
        listed = alive or place.busy()
        try:
            outcome = place.outcome(claim.attempt)
        except DataError as error:
            outcome = Failure(error)
        if alive and self.engine.here:
            return False  # here it can be seen to the end, so that nothing is left behind
        if listed or outcome is not False:
            self._silent.pop(index, None)
            return outcome
        since = self._silent.setdefault(index, time.monotonic())
        if time.monotonic() - since < self.engine.patience:
            return False
        return Failure(self.engine.died(claim.job, self._logs))

    def _refused(self, batch: list[int], error: ConfigError) -> None:
        call_off({self._jobs[index].label: self._places[index] for index in batch})  # Slurm may have one all the same
        if not self._running and not self._outcomes:
            raise error
        self._waiting = self._waiting[len(batch) :]
        for index in batch:
            self._end(index, Failure(error))

    def _end(self, index: int, outcome: Failure | None) -> None:
        self._outcomes[index] = outcome
        self._ended(index, outcome)
