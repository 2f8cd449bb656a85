"""What a retraining was asked for and has done so far, in its folder until it has finished."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from applications.nas.config_file import from_json, to_json
from applications.nas.files import read_text, write_text
from applications.nas.launch import Ranks
from applications.nas.retrain.checkpoint import CHECKPOINT
from applications.nas.retrain.training import Training
from applications.nas.run_folder import FAILURE, RESULTS
from mlo import DivergenceError

UNFINISHED = "unfinished.json"
log = logging.getLogger("mlo.nas")


@dataclass(frozen=True)
class Unfinished:
    """A retraining that has begun.

    Attributes:
        cell: How reports call the architecture.
        search: Folder of the search that found it, relative to this one; None if there was none.
        torchrun: Name of the job that torchrun started; None without it.
        trainings: Those that are done.
    """

    cell: str
    search: str | None
    torchrun: str | None
    trainings: tuple[Training, ...] = ()


def read_unfinished(folder: Path) -> Unfinished:
    """Read what a retraining has done so far.

    Raises:
        DataError: If there is nothing.
        ConfigError: If it is not well formed.
    """
    path = folder / UNFINISHED
    return from_json(Unfinished, read_text(path), str(path))


def is_finished(folder: Path) -> bool:
    """Return whether a folder is that of a retraining that came to its end."""
    return (folder / RESULTS).is_file() and not (folder / UNFINISHED).is_file()


def job_of(folder: Path) -> str | None:
    """Return the name of the torchrun job that a folder is of; None if of none."""
    for file in (folder / UNFINISHED, folder / RESULTS):
        with suppress(OSError, ValueError, AttributeError, RecursionError):  # a folder of something else
            name = json.loads(file.read_text(encoding="utf-8")).get("torchrun")
            return name if isinstance(name, str) else None
    return None


@final
class Ledger:
    """The trainings of a retraining that are done; the first rank writes each down as soon as it is.

    Args:
        folder: Folder of the retraining.
        begun: What is known at the start.
        ranks: All of them must make the same calls.

    Attributes:
        diverged: The errors of trainings that diverged in this run.
    """

    def __init__(self, folder: Path, begun: Unfinished, ranks: Ranks) -> None:
        """Write down what is known."""
        self.folder, self.ranks, self._known = folder, ranks, begun
        self.diverged: list[DivergenceError] = []
        self._write()

    def find(self, task: str, seed: int) -> Training | None:
        """Return a training, if it is done."""
        return next((one for one in self._known.trainings if (one.task, one.seed) == (task, seed)), None)

    def add(self, training: Training) -> None:
        """Write a training down."""
        self._known = replace(self._known, trainings=(*self._known.trainings, training))
        self._write()

    def fail(self, error: DivergenceError) -> None:
        """Keep in mind that a training has diverged; the others go on."""
        self.diverged.append(error)
        if self.ranks.first:
            log.warning("%s; the other trainings go on", error)

    def close(self) -> None:
        """Remove what only a retraining that has not finished needs."""
        if self.ranks.first:
            for name in (CHECKPOINT, UNFINISHED):
                for aside in self.folder.glob(f".{name}.*"):  # of a process that was killed as it wrote
                    aside.unlink()
                (self.folder / name).unlink(missing_ok=True)
            (self.folder / FAILURE).unlink(missing_ok=True)  # of the time before it was resumed

    def _write(self) -> None:
        if self.ranks.first:
            write_text(self.folder / UNFINISHED, to_json(self._known))
