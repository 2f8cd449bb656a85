"""A training after some step, in files that load without running code and tell whether they are whole."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import optree
from torch import Tensor

from applications.nas.files import explained, tidy
from applications.nas.launch import Ranks
from applications.nas.pace import Pace
from applications.nas.retrain.own import Own
from applications.nas.sealed import read_sealed, write_sealed
from applications.nas.settings import CheckpointSettings
from mlo import DamagedError, DataError

CHECKPOINTS = "checkpoints"
"""Where the checkpoints are, inside the folder of a retraining that has not finished."""
_OLD = "checkpoint.pt"  # what versions without checksums wrote
log = logging.getLogger("mlo.nas")


def how_to_go_on(folder: Path) -> str:
    """Return the command that goes on with a retraining, to be quoted."""
    return f"`mlo-nas retrain --resume {folder}`"


@dataclass(frozen=True)
class TrainingState:
    """All that decides how a training goes on.

    Attributes:
        rows: The metrics of each epoch that is over.
        done: Batches of the next epoch that are done.
        batches: Where the sequence of batches was at the begin of that epoch.
        network: State dict.
        optimizer: State dict.
        average: State dict of the moving average; None without one.
        each: What each rank has for itself, in their order.
    """

    rows: list[dict[str, float]]
    done: int
    batches: dict[str, Tensor]
    network: dict[str, Tensor]
    optimizer: dict[str, Any]
    average: dict[str, Tensor] | None
    each: list[Own]


@final
class Keeper:
    """Keeps the last states of one training in the folder of the retraining; the first rank reads and writes them.

    Args:
        folder: The folder.
        task: Name of the task.
        seed: Of the training.
        ranks: All of them must make the same calls.
        settings: How often a state is kept within an epoch, and how many are.
    """

    def __init__(
        self, folder: Path, task: str, seed: int, ranks: Ranks, settings: CheckpointSettings = CheckpointSettings()
    ) -> None:
        """Start the clocks."""
        self.folder, self._ranks, self._keep = folder, ranks, settings.keep
        self._place, self._stem = folder / CHECKPOINTS, f"{task}-{seed}"
        self._pace = Pace(settings.share, ranks)
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time of this training, that before a restart included."""
        return time.monotonic() - self._started

    @property
    def going_on(self) -> str:
        """The command that goes on with the retraining, to be quoted."""
        return how_to_go_on(self.folder)

    def due(self) -> bool:
        """Return whether to keep a state now, within an epoch."""
        return self._pace.due()

    def load(self) -> TrainingState | None:
        """Return the last state that is whole; None if none of this training was kept.

        Raises:
            DataError: If there are states, and none can be read.
        """
        found = self._ranks.from_first(self._read() if self._ranks.first else None)
        if found is None:
            return None
        with self.reading():
            self._started -= float(found.pop("seconds"))
            each = [Own(**one) for one in found.pop("each")]
            return TrainingState(each=each, **found)

    def save(self, state: TrainingState, number: int) -> None:
        """Write a state, whole or not at all, and remove those that are too many.

        Args:
            state: What to keep.
            number: Batches of the whole training that are done.

        Raises:
            DataError: If it cannot be written; those before are still there.
        """
        began = time.monotonic()
        if self._ranks.first:
            plain = {**vars(state), "each": [vars(one) for one in state.each], "seconds": self.seconds}
            with explained(self._place):
                self._place.mkdir(exist_ok=True)
            path = self._place / f"{self._stem}-{number:08}.pt"
            write_sealed(path, optree.tree_map(_to_cpu, plain))  # type: ignore[arg-type]
            self._remove(number)
        self._pace.took(time.monotonic() - began)

    def drop(self) -> None:
        """Remove all states, as soon as the training is over."""
        if self._ranks.first:
            for _, path in self._files():
                path.unlink(missing_ok=True)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Say that a file holds something else, whatever fails on reading it.

        Raises:
            DataError: In the place of any error.
        """
        try:
            yield
        except Exception as error:  # a foreign file can fail in any way
            what = f"{self._place / self._stem}-*.pt hold no state of this training"
            raise DataError(f"{what}: {self._fix}") from error

    @property
    def _fix(self) -> str:
        return f"remove {self._place / self._stem}-*.pt, and this training begins anew"

    def _read(self) -> dict[str, Any] | None:
        old = self.folder / _OLD
        if old.is_file():
            told = f"{old} is that of an older version, which this one cannot go on with"
            raise DataError(f"{told}: remove it, and the training that it is of begins anew")
        files = self._files()
        for _, path in reversed(files):
            try:
                found = read_sealed(path, self._fix)
            except DamagedError as error:
                log.warning("%s", str(error).removesuffix(f": {self._fix}") + ": it is passed over")
                continue
            if not isinstance(found, dict):
                raise DataError(f"{path} holds no state of this training: {self._fix}")
            return found
        if files:
            raise DataError(f"{files[-1][1]} and those before it are damaged, and no other is kept: {self._fix}")
        return None

    def _files(self) -> list[tuple[int, Path]]:
        """Return the numbers and paths of the states, in order."""
        form = re.compile(re.escape(self._stem) + r"-(\d{8,})\.pt")
        found = [(form.fullmatch(path.name), path) for path in self._place.glob("*.pt")]
        return sorted((int(match[1]), path) for match, path in found if match)

    def _remove(self, number: int) -> None:
        """Remove what is too old, what is damaged, which has a larger number, and what was half written."""
        files = self._files()
        later = [path for count, path in files if count > number]
        before = [path for count, path in files if count <= number]
        with suppress(OSError):  # they are in nobody's way
            for path in (*later, *before[: -self._keep]):
                path.unlink(missing_ok=True)
            tidy(self._place)


def _to_cpu(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, Tensor) else value
