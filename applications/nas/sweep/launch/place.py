"""The files by which a sweep and a job of a scheduler know of each other: plain data, so that reading them is safe."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from applications.nas._lane import Failure
from applications.nas.files import read_object, write_json
from applications.nas.jobs import Message
from applications.nas.lock import is_locked
from applications.nas.stopping import Stopped
from mlo import DataError, MLOError

JOBS = "jobs"
"""Where the jobs of a sweep keep their files, inside its folder."""
LOGS = "logs"
"""Where their logs are, inside that."""
_CLAIM, _OUTCOME, _PROGRESS, _WORKER, _LOCK = "claim.json", "outcome.json", "progress.json", "worker.json", ".lock"
_CURE = "remove the file, and resume the sweep"
_PAUSE = 2.0  # seconds between two reports of progress


@dataclass(frozen=True)
class Claim:
    """Which job may work on a point; any other one that still starts has nothing to do.

    Attributes:
        attempt: A name that no other try has; empty if the job was called off.
        engine: The name of the engine that has the job.
        host: The machine from which it was launched.
        job: What the engine calls it; empty if whoever launched it ended before knowing.
    """

    attempt: str
    engine: str
    host: str
    job: str = ""


@dataclass(frozen=True)
class Place:
    """The files about the job of one point.

    Attributes:
        folder: Where they are.
    """

    folder: Path

    @property
    def lock(self) -> Path:
        """The lock of whatever works on the point."""
        return self.folder / _LOCK

    def busy(self) -> bool:
        """Say whether a process works on the point now."""
        return is_locked(self.lock)

    def claim(self) -> Claim | None:
        """Return which job may work on the point; None if there is none."""
        if not (self.folder / _CLAIM).is_file():
            return None
        content = read_object(self.folder / _CLAIM, _CURE)
        names = [str(content.get(name, "")) for name in ("attempt", "engine", "host", "job")]
        return Claim(*names) if names[0] else None

    def write_claim(self, claim: Claim) -> None:
        """Say which job may work on the point."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / _CLAIM, asdict(claim))

    def forget(self) -> None:
        """Take away what an attempt before told of its progress and its end."""
        for name in (_PROGRESS, _OUTCOME):
            (self.folder / name).unlink(missing_ok=True)

    def outcome(self, attempt: str) -> Failure | bool:
        """Return how an attempt ended: True if well, False if it has not ended."""
        if not (self.folder / _OUTCOME).is_file():
            return False
        content = read_object(self.folder / _OUTCOME, _CURE)
        if content.get("attempt") != attempt:
            return False
        error = content.get("error")
        if error is not None and content.get("signal"):
            return Failure(Stopped(str(error), int(content["signal"])))
        return error is None or Failure(MLOError(str(error)), str(content.get("trace", "")))

    def write_outcome(self, attempt: str, failure: Failure | None) -> None:
        """Say how an attempt ended."""
        content: dict[str, Any] = {"attempt": attempt}
        if failure is not None:
            content |= {"error": str(failure), "trace": failure.origin()}
            if isinstance(failure.error, Stopped):
                content["signal"] = failure.error.number
        write_json(self.folder / _OUTCOME, content)

    def worker(self) -> int | None:
        """Return the process that works on the point if `busy`; None if none ever has."""
        if not (self.folder / _WORKER).is_file():
            return None
        return int(read_object(self.folder / _WORKER, _CURE).get("process", 0)) or None

    def write_worker(self) -> None:
        """Say that this process works on the point."""
        write_json(self.folder / _WORKER, {"process": os.getpid(), "host": socket.gethostname()})

    def progress(self) -> list[Message]:
        """Return how far the job is, if it has said so."""
        try:
            found = read_object(self.folder / _PROGRESS, _CURE)
            return [(label, int(done), int(total), str(text)) for label, (done, total, text) in found.items()]
        except (DataError, ValueError, TypeError):  # it is for show alone
            return []


class ProgressFile:
    """A file that holds the last that a job has told of each line of its progress."""

    def __init__(self, place: Place) -> None:
        """Write into a place, at most every few seconds."""
        self._file, self._said = place.folder / _PROGRESS, -_PAUSE
        self._lines: dict[str, tuple[int, int, str]] = {}

    def put(self, message: Message) -> None:
        """Keep a message."""
        label, done, total, text = message
        self._lines[label] = (done, total, text)
        if done < total and time.monotonic() < self._said + _PAUSE:
            return
        self._said = time.monotonic()
        aside = self._file.with_suffix(".new")
        with suppress(OSError):  # no reason for a job to fail
            aside.write_text(json.dumps(self._lines), encoding="utf-8")
            os.replace(aside, self._file)
