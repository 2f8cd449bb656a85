"""One point of a sweep in its folder: a search, and the retraining of its cell."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import torch

from applications.nas.config_file import renewed, to_json
from applications.nas.jobs import Reporter
from applications.nas.progress import Tick
from applications.nas.retrain.run import retrain_run
from applications.nas.run_folder import CONFIG, FAILURE, GENOTYPE, RESULTS, read_genotype
from applications.nas.run_folder.place import UNFINISHED
from applications.nas.search import can_resume, resume, search
from applications.nas.settings import RetrainSettings, SearchSettings
from applications.nas.space.genotype import random_genotype
from applications.nas.stopping import Stopper, stoppable
from applications.nas.sweep.plan import Point
from applications.nas.sweep.study import RANDOM
from mlo import ConfigError

RETRAIN = "retrain"
"""Where the retraining is, inside the folder of the search."""


def run_point(point: Point, folder: Path, report: Reporter) -> None:
    """Do what is missing of a point; what was stopped goes on where it was.

    Args:
        point: What to do; its settings are complete.
        folder: Its folder.
        report: Told how far it is.

    Raises:
        Stopped: If a signal asked for it; what was done until then is kept.
    """
    if finished(folder, point):  # as for a job that a scheduler runs once more
        return
    clear(folder, point)
    with stoppable(_warnings()) as stopper:
        if point.cell is None and not searched(folder):
            _search(point.settings, folder, report.begin("search"), stopper)
        if point.retrain is not None:
            _retrain(point, point.retrain, folder, report, stopper)


def _retrain(point: Point, settings: RetrainSettings, folder: Path, report: Reporter, stopper: Stopper) -> None:
    """Train the cell that was found, or a random one, or go on with that."""
    place = folder / RETRAIN
    begun = (place / UNFINISHED).is_file()
    place.mkdir(parents=True, exist_ok=True)
    if point.cell is None:
        cell, name, search = read_genotype(folder), point.name, folder
    else:
        generator = torch.Generator().manual_seed(point.cell)
        cell, name, search = random_genotype(point.settings.supernet.space, generator), RANDOM, None
    arguments = (cell, name, point.settings, settings, place, report.begin)
    retrain_run(*arguments, search=search, resumed=begun, stopper=stopper)


def _search(settings: SearchSettings, folder: Path, tick: Tick, stopper: Stopper) -> None:
    """Search, or go on with the search that was stopped in a folder."""
    if can_resume(folder):
        resume(folder, tick, stopper=stopper)
    else:
        search(settings, folder, tick, stopper=stopper)


def _warnings() -> list[signal.Signals]:
    """Return the signals by which a scheduler warns of the end: those that have a handler here."""
    known = [getattr(signal, name, None) for name in ("SIGUSR1", "SIGUSR2")]
    return [one for one in known if one is not None and callable(signal.getsignal(one))]


def searched(folder: Path) -> bool:
    """Say whether the search has ended."""
    # README.md is what a search writes last; a search that was ended before may lack pictures.
    return all((folder / name).is_file() for name in (RESULTS, GENOTYPE, "README.md"))


def finished(folder: Path, point: Point) -> bool:
    """Say whether nothing of a point is missing."""
    found = point.cell is not None or searched(folder)
    return found and (point.retrain is None or (folder / RETRAIN / RESULTS).is_file())


def check_unchanged(folder: Path, point: Point) -> None:
    """Refuse a folder whose search or retraining has other settings than those asked for.

    Raises:
        ConfigError: The message names the folder.
    """
    wanted: list[tuple[Path, SearchSettings | RetrainSettings]] = []
    if point.cell is None:
        wanted.append((folder / CONFIG, point.settings))
    if point.retrain is not None:
        wanted.append((folder / RETRAIN / CONFIG, point.retrain))
    for file, asked in wanted:
        if file.is_file() and renewed(type(asked), file.read_text(encoding="utf-8")) != to_json(asked):
            raise ConfigError(
                f"{file} holds other settings than the sweep asks for now: name another folder with --out, or remove "
                f"{file.parent}"
            )


def clear(folder: Path, point: Point) -> None:
    """Take away what is half done and cannot go on, so that it can be started again."""
    (folder / FAILURE).unlink(missing_ok=True)
    if point.cell is None and not searched(folder):
        if not can_resume(folder):
            shutil.rmtree(folder, ignore_errors=True)
        return
    place = folder / RETRAIN
    if not (place / RESULTS).is_file() and not (place / UNFINISHED).is_file():
        shutil.rmtree(place, ignore_errors=True)
