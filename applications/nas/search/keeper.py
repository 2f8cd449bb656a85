"""When a search is kept, where it stops if it is asked to, and how it goes on."""

from __future__ import annotations

import logging
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import mlo
from applications.nas.launch import Ranks
from applications.nas.pace import Pace
from applications.nas.search.checkpoint import CHECKPOINTS
from applications.nas.search.record import AbstractRecord
from applications.nas.search.standing import Standing
from applications.nas.settings import CheckpointSettings
from applications.nas.stopping import Stopped, Stopper, signal_name
from mlo import ConfigError, DamagedWarning, DataError

log = logging.getLogger("mlo.nas")


@final
class Keeper:
    """Writes checkpoints of a search, and ends it after a step if a signal asks for that.

    Args:
        folder: Of the run, the same on all ranks.
        settings: How often, and how many.
        ranks: All of them make the same calls; the first one writes, and decides when.
        stopper: Knows whether the search is asked to stop.
        record: Of the search; all that it has written is on the disk before a checkpoint is.
    """

    def __init__(
        self, folder: Path, settings: CheckpointSettings, ranks: Ranks, stopper: Stopper, record: AbstractRecord
    ) -> None:
        """Write nothing yet."""
        self._folder, self._ranks, self._stopper, self._record = folder, ranks, stopper, record
        self._series = mlo.Checkpoints(folder / CHECKPOINTS, keep=settings.keep)
        self._pace = Pace(settings.share, ranks)

    def step(self, engine: mlo.Engine, standing: Callable[[], Standing]) -> None:
        """Look after a step whether it is time to write, or to stop.

        Raises:
            Stopped: If a signal asked for it.
        """
        number = self._stopper.asked(self._ranks)  # the same on all ranks, and so is what follows
        if number is not None or self._pace.due():
            self._save(engine, standing())
        self._stop(number)

    def milestone(self, engine: mlo.Engine, standing: Standing, *, last: bool = False) -> None:
        """Write in any case: at the begin of a stage, and after an epoch.

        Args:
            engine: Of the stage.
            standing: Where the search stands.
            last: Whether nothing is left to be trained, so that it is not stopped any more.

        Raises:
            Stopped: If a signal asked for it.
        """
        number = self._stopper.asked(self._ranks)
        self._save(engine, standing)
        if not last:
            self._stop(number)

    def restore(self, engine: mlo.Engine) -> None:
        """Put the engine, the batches and the generators where the newest checkpoint has them."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamagedWarning)  # `latest` has told of it
            self._series.restore(engine)

    def clear(self) -> None:
        """Remove the checkpoints, of a search that has finished."""
        if self._ranks.first:
            shutil.rmtree(self._series.folder, ignore_errors=True)

    def _save(self, engine: mlo.Engine, standing: Standing) -> None:
        began = time.monotonic()
        self._record.sync()
        content = {**standing.plain(), "ranks": self._ranks.world}
        self._series.save(engine, more=content, number=self._record.steps)
        self._pace.took(time.monotonic() - began)

    def _stop(self, number: int | None) -> None:
        if number is not None:
            told = f"stopped by {signal_name(number)} after step {self._record.steps} of the search"
            raise Stopped(f"{told}; `mlo-nas search --resume {self._folder}` goes on", number)


def latest(folder: Path, ranks: Ranks) -> Any:
    """Return what the newest whole checkpoint of a search says.

    Args:
        folder: Of the search.
        ranks: Those that are to go on with it.

    Raises:
        DataError: If there is none, or none of those that there are can be read.
        ConfigError: If it is of another number of ranks.
    """
    with warnings.catch_warnings(record=True) as damaged:
        warnings.simplefilter("always", DamagedWarning)
        kept = mlo.Checkpoints(folder / CHECKPOINTS).latest()
    for one in damaged:
        log.warning("%s", one.message)
    if kept is None:
        raise DataError(f"{folder / CHECKPOINTS} holds no checkpoint: search again, into another folder")
    were = kept.more.get("ranks") if isinstance(kept.more, dict) else None
    if were is not None and were != ranks.world:
        count = f"{were} rank{'s' if were > 1 else ''}"
        cure = f"start {were} by torchrun --nproc-per-node {were}" if were > 1 else "start it without torchrun"
        raise ConfigError(f"{folder}: its search was on {count}, and is to go on with {ranks.world}: {cure}")
    return kept.more
