"""A training after an epoch, in a file that loads without running code."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final

import optree
import torch
from torch import Tensor

from applications.nas.files import write_tensors
from applications.nas.launch import Ranks
from mlo import DataError

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class TrainingState:
    """All that decides how a training goes on.

    Attributes:
        rows: The metrics of each epoch so far.
        network: State dict.
        optimizer: State dict.
        average: State dict of the moving average; None without one.
        batches: Where the sequence of batches is.
        generators: The states of each rank's generators, by rank.
    """

    rows: list[dict[str, float]]
    network: dict[str, Tensor]
    optimizer: dict[str, Any]
    average: dict[str, Tensor] | None
    batches: dict[str, Tensor]
    generators: list[list[Tensor]]


@final
class Keeper:
    """Keeps the last state of one training in the folder of the retraining; the first rank reads and writes it.

    Args:
        folder: The folder.
        task: Name of the task.
        seed: Of the training.
        ranks: All of them must make the same calls.
    """

    def __init__(self, folder: Path, task: str, seed: int, ranks: Ranks) -> None:
        """Start the clock."""
        self._path, self._ranks = folder / CHECKPOINT, ranks
        self._training = {"task": task, "seed": seed}
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time of this training, that before a restart included."""
        return time.monotonic() - self._started

    def load(self) -> TrainingState | None:
        """Return the state that was saved last; None if none of this training was.

        Raises:
            DataError: If the file cannot be read.
        """
        ranks = self._ranks
        content = ranks.from_first(self._path.read_bytes() if ranks.first and self._path.is_file() else None)
        if content is None:
            return None
        with self.reading():
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            if {name: found[name] for name in self._training} != self._training:
                return None  # that of the training before
            self._started -= float(found["seconds"])
            return TrainingState(**{field.name: found[field.name] for field in fields(TrainingState)})

    def save(self, state: TrainingState) -> None:
        """Write a state, whole or not at all, in place of the one before.

        Raises:
            DataError: If it cannot be written.
        """
        if self._ranks.first:
            plain = {field.name: getattr(state, field.name) for field in fields(TrainingState)}
            plain |= {**self._training, "seconds": self.seconds}
            write_tensors(self._path, optree.tree_map(_to_cpu, plain))  # type: ignore[arg-type]

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Say that the file holds something else, whatever fails on reading it.

        Raises:
            DataError: In the place of any error.
        """
        try:
            yield
        except Exception as error:  # a foreign file can fail in any way
            fix = "remove it, and this training begins anew"
            raise DataError(f"{self._path} holds no state of this training: {fix}") from error


def _to_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value
