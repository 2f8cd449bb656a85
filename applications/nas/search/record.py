"""What a search writes down: every step, every epoch, and what came out."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import mlo
from applications.nas.formulations import ARCHITECTURE
from applications.nas.methods import Progress
from applications.nas.methods.derivation import strongest_cells
from applications.nas.progress import Tick
from applications.nas.run_folder import GENOTYPE, RESULTS, History, RunLog, count_skips, write_json, write_text
from applications.nas.search.checkpoint import write_checkpoint
from applications.nas.search.epoch import Epoch
from applications.nas.search.pages import draw_search, explain_search
from applications.nas.settings import Interleaving, MultiTask, SearchSettings
from applications.nas.space.mixture import named_weights
from applications.nas.tasks import choose_device
from applications.nas.watch import Alarms, write_epochs, write_warnings

log = logging.getLogger("mlo.nas")


class AbstractRecord(ABC):
    """What is kept of a search as it runs.

    Attributes:
        steps: Outer steps made.
        gradients: Gradients of one task's loss taken.
    """

    def __init__(self, before: Mapping[str, Any] | None = None) -> None:
        """Begin with nothing, or go on from a `state`."""
        found = before or {"steps": 0, "gradients": 0, "seconds": 0.0}
        self.steps, self.gradients = int(found["steps"]), int(found["gradients"])
        self._since, self._before = time.monotonic(), float(found["seconds"])

    @property
    def seconds(self) -> float:
        """Wall time of the search, without that in which it was stopped."""
        return self._before + time.monotonic() - self._since

    def state(self) -> dict[str, Any]:
        """Return what a record needs to go on, as plain data."""
        return {"steps": self.steps, "gradients": self.gradients, "seconds": self.seconds}

    def sync(self) -> None:
        """Wait until all that was written is on the disk; by default nothing was."""
        return None

    def step(self, report: mlo.Report, place: Progress, lr: float, cost: int) -> None:
        """Count a step, and write it down."""
        self.steps += 1
        self.gradients += cost
        self._write_step(report, place, lr)

    @abstractmethod
    def _write_step(self, report: mlo.Report, place: Progress, lr: float) -> None:
        """Write a step down."""

    @abstractmethod
    def end_epoch(self, epoch: Epoch) -> None:
        """Write an epoch down."""

    @abstractmethod
    def keep(self, engine: mlo.Engine, place: Progress) -> None:
        """Write down what the engine holds after an epoch."""

    @abstractmethod
    def stop(self, place: Progress, reason: str) -> None:
        """Say that a method has ended its stage."""


class Bystander(AbstractRecord):
    """Counts alone: the record of a rank that leaves the writing to the first."""

    def _write_step(self, report: mlo.Report, place: Progress, lr: float) -> None:
        """Write nothing."""

    def end_epoch(self, epoch: Epoch) -> None:
        """Write nothing."""

    def keep(self, engine: mlo.Engine, place: Progress) -> None:
        """Write nothing."""

    def stop(self, place: Progress, reason: str) -> None:
        """Say nothing."""


class Record(AbstractRecord):
    """Writes a search down as it runs.

    Args:
        folder: Of the run.
        run_log: Where numbers are logged.
        tick: Told how far it is.
        total: Steps of the whole search.
        alarms: What tells of a collapse.
        files: Digests of what the search goes by.
        before: The `state` of a search that was stopped, and goes on.

    Attributes:
        folder: Of the run.
    """

    def __init__(
        self,
        folder: Path,
        run_log: RunLog,
        tick: Tick,
        total: int,
        alarms: Alarms,
        files: Mapping[str, str],
        before: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell the progress bar how long it will be, and how far it is."""
        super().__init__(before)
        self._said: list[str] = [] if before is None else list(before["said"])
        self.folder, self._alarms, self._files = folder, alarms, dict(files)
        self._log, self._tick, self._total = run_log, tick, total
        self._history = History(folder, kept=0 if before is None else before["epochs"])
        if before is not None:
            alarms.load(before["alarms"])
        tick(self.steps, total, "")

    def state(self) -> dict[str, Any]:
        """Return what a record needs to go on, as plain data."""
        more = {"said": self._said, "epochs": len(self._history.snapshots), "alarms": self._alarms.state()}
        return {**super().state(), **more, "files": self._files}

    def sync(self) -> None:
        """Wait until all that was logged is on the disk."""
        self._log.sync()

    def _write_step(self, report: mlo.Report, place: Progress, lr: float) -> None:
        row = {"step": float(self.steps), "stage": place.stage + 1.0, "epoch": place.epoch + 1.0, "lr": lr}
        row |= {f"loss/{name}": value for name, value in report.losses.items()}
        row |= {f"gradient/{name}": value for name, value in report.norms.items()}
        self._log.write(row)
        self._said += [f"step {self.steps}: a batch was left out: {told}" for told in report.skipped]
        loss = report.losses.get(ARCHITECTURE)
        text = "warm-up of the weights" if loss is None else f"validation loss {loss:.3f}"
        self._tick(self.steps, self._total, text)

    def end_epoch(self, epoch: Epoch) -> None:
        """Write an epoch down."""
        named = named_weights(epoch.strengths, epoch.space.choices)
        number, stage = epoch.place.epoch + 1, epoch.place.stage + 1
        if not epoch.frozen:
            # The cell before any limit on skips, which would hide what limits it.
            cell = strongest_cells(epoch.strengths, epoch.space).normal
            self._alarms.look(stage, number, cell, epoch.space, epoch.sight.eigenvalue)
        self._history.add(
            number,
            epoch.genotype,
            stage=stage,
            alphas=epoch.variables,
            weights=named,
            gap=epoch.sight.gap,
            eigenvalue=epoch.sight.eigenvalue,
        )
        self._log.write_tables(self.steps, epoch.variables)
        write_epochs(self.folder, self._history.snapshots)
        write_warnings(self.folder, self._alarms.all)

    def keep(self, engine: mlo.Engine, place: Progress) -> None:
        """Write down what the engine holds after an epoch."""
        write_checkpoint(self.folder, engine, place)

    def stop(self, place: Progress, reason: str) -> None:
        """Say that a method has ended its stage."""
        text = f"stage {place.stage + 1} ends after epoch {place.epoch + 1}: {reason}"
        log.warning("%s", text)
        self._said.append(text)

    @property
    def warnings(self) -> list[str]:
        """What the reader should know before believing the outcome."""
        return [*self._said, *(f"{alarm.told}." for alarm in self._alarms.standing)]


def formulation_name(settings: SearchSettings) -> str:
    """Return "single", "multi" or "interleaving"."""
    form = settings.formulation
    if isinstance(form, Interleaving):
        return "interleaving"
    return "multi" if isinstance(form, MultiTask) else "single"


def write_outcome(
    folder: Path,
    settings: SearchSettings,
    tasks: Sequence[str],
    found: Epoch,
    record: Record,
    devices: int,
) -> None:
    """Write the cell, its cost, the pictures and the pages."""
    device = choose_device(settings.device)
    results = {
        "kind": "search",
        "method": settings.method.titled(settings.rule),
        "formulation": formulation_name(settings),
        "tasks": list(tasks),
        "seed": settings.seed,
        "steps": record.steps,
        "gradients": record.gradients,
        "seconds": record.seconds,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "devices": devices,
        "skips": count_skips(found.genotype),
    }
    # The cell before its pictures, so that a disk that is full loses no search.
    write_json(folder / "alphas.json", {name: table.tolist() for name, table in found.variables.items()})
    write_json(folder / RESULTS, results)
    write_text(folder / GENOTYPE, found.genotype.to_json())
    _, notes = draw_search(folder)
    explain_search(folder, tasks, [*record.warnings, *notes])
