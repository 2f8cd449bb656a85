"""Run a sweep: what is missing of it, several points at a time, and then its summary."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from applications.nas._lane import Failure
from applications.nas.data import Task
from applications.nas.jobs import Job
from applications.nas.retrain.build import check_fit
from applications.nas.run_folder import FAILURE, write_text
from applications.nas.search import chosen_tasks
from applications.nas.settings import Data
from applications.nas.space.genotype import random_genotype
from applications.nas.stopping import Stopped, Terminated, signal_name
from applications.nas.sweep.folder import sweep_folder
from applications.nas.sweep.launch.base import AbstractLauncher
from applications.nas.sweep.plan import Point
from applications.nas.sweep.point import check_unchanged, finished, run_point
from applications.nas.sweep.reuse import find_finished, ran_by, take
from applications.nas.sweep.study import StudySettings, Swept, swept_points
from applications.nas.sweep.study_summary import summarize_study
from applications.nas.sweep.summary import summarize
from applications.nas.tasks import choose_device, load_tasks
from mlo import ConfigError, MLOError


def sweep(
    settings: Swept, folder: Path, console: Console, *, launcher: AbstractLauncher, reuse: Sequence[Path] = ()
) -> None:
    """Search at every point, retrain what was found, and write a summary; points that are finished are not repeated.

    A point that fails does not end the sweep: the error is kept in its folder, and the point is tried again when the
    sweep is run again.

    Args:
        settings: What to sweep.
        folder: New, empty, or that of this very sweep.
        console: Where progress and summary go.
        launcher: What runs the points.
        reuse: Folders of other sweeps; what they have finished with the same settings is copied.

    Raises:
        ConfigError: If the request is not sound; then nothing has run.
        MLOError: If points failed; the message names them, and the others are finished and summarized.
        Stopped: If it was interrupted, or some of its points were; what they did until then is kept.
    """
    plan = swept_points(settings)
    _check(plan, here=launcher.here)
    new = not folder.exists()
    with sweep_folder(folder, settings):
        console.print(f"sweep folder: {folder}", highlight=False, soft_wrap=True)
        for point in plan:
            check_unchanged(folder / point.name, point)
        missing = [point for point in plan if not finished(folder / point.name, point)]
        if len(missing) < len(plan):
            told = f"{len(plan) - len(missing)} of {len(plan)} points are finished already"
            console.print(told, highlight=False)
        try:
            missing = _taken(missing, folder, reuse, console)
            failed, stopped = _run(missing, folder, console, launcher)
        except KeyboardInterrupt as stop:
            count = sum(finished(folder / point.name, point) for point in plan)
            if isinstance(settings, StudySettings) and count:  # half a study, seed by seed, is worth a table
                _summarize(settings, plan, {}, folder, console)
            number = signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT
            told = f"stopped by {signal_name(number)} with {count} of {len(plan)} points finished"
            raise Stopped(f"{told}; {_go_on(folder)}", number) from None
        except ConfigError:  # nothing has run
            if new:
                shutil.rmtree(folder)
            raise
        _summarize(settings, plan, failed, folder, console)
    _raise_for(failed, stopped, plan, folder)


def _taken(missing: Sequence[Point], folder: Path, reuse: Sequence[Path], console: Console) -> list[Point]:
    """Copy what other sweeps have finished, and return what is missing then."""
    found = find_finished(missing, folder, reuse)
    if reuse:
        console.print(f"{len(found)} of {len(missing)} missing points are taken from other sweeps", highlight=False)
    for name, source in found.items():
        told = f"{name}: taken from {source} ({ran_by(source)})"
        console.print(told, highlight=False, markup=False, soft_wrap=True)
    take(found, folder, retrained=any(point.retrain is not None for point in missing))
    return [point for point in missing if point.name not in found]


def _summarize(
    settings: Swept, plan: Sequence[Point], failed: Mapping[str, str], folder: Path, console: Console
) -> None:
    if isinstance(settings, StudySettings):
        summarize_study(settings, plan, failed, folder, console)
    else:
        summarize(settings, plan, failed, folder, console)


def _raise_for(failed: Mapping[str, str], stopped: Mapping[str, int], plan: Sequence[Point], folder: Path) -> None:
    """Raise an error that names the points that failed, or those that were stopped, if there are any."""
    if failed:
        names = "; ".join(f"{name} ({error})" for name, error in failed.items())
        raise MLOError(
            f"sweep: {len(failed)} of {len(plan)} points failed: {names}. The others are finished; "
            f"mlo-nas sweep --resume {folder} tries these again"
        )
    if stopped:
        told = f"{len(stopped)} of {len(plan)} points were stopped: {', '.join(stopped)}"
        raise Stopped(f"{told}; {_go_on(folder)}", next(iter(stopped.values())))


def _go_on(folder: Path) -> str:
    return f"the same command again, or `mlo-nas sweep --resume {folder}`, goes on"


def _check(plan: Sequence[Point], *, here: bool) -> None:
    """Find out before anything runs what would make points fail: data, names of tasks and operations, the device."""
    seen: list[tuple[Any, ...]] = []
    loaded: dict[Data, tuple[Task, ...]] = {}  # splits of other seeds are of the same sizes
    for point in plan:
        search = point.settings
        if (search.data, search.formulation, search.device, search.supernet) in seen:
            continue
        seen.append((search.data, search.formulation, search.device, search.supernet))
        space = search.supernet.space
        if here:
            choose_device(search.device)
        if search.data not in loaded:
            loaded[search.data] = load_tasks(search.data, search.seed)
        tasks = chosen_tasks(search, loaded[search.data])
        if point.retrain is not None:
            if here:
                choose_device(point.retrain.device)
            cell = random_genotype(space, torch.Generator().manual_seed(0))
            for task in tasks:
                check_fit(cell, task, point.retrain)


def _run(
    missing: Sequence[Point], folder: Path, console: Console, launcher: AbstractLauncher
) -> tuple[dict[str, str], dict[str, int]]:
    """Run points; return the name and the error of each that failed, and the name and the signal of each stopped."""
    failed: dict[str, str] = {}
    stopped: dict[str, int] = {}

    def ended(index: int, outcome: object) -> None:
        if not isinstance(outcome, Failure):
            return
        name = missing[index].name
        if isinstance(outcome.error, Stopped):
            stopped[name] = outcome.error.number
            console.print(f"{name}: {outcome}", highlight=False, markup=False, soft_wrap=True)
        else:
            failed[name] = str(outcome)
            _keep(outcome, folder / name)
            console.print(f"{name} failed: {outcome}", highlight=False, markup=False, soft_wrap=True)

    jobs = []
    for point in missing:
        jobs.append(Job(point.name, run_point, (point, folder / point.name)))
    if jobs:
        launcher.launch(jobs, folder, console, whole="the whole sweep", ended=ended)
    return failed, stopped


def _keep(failure: Failure, folder: Path) -> None:
    """Write an error into the folder of its point; if it is none of the library's, with where it arose."""
    folder.mkdir(parents=True, exist_ok=True)
    origin = failure.origin()
    write_text(folder / FAILURE, f"{failure}\n" + (f"\n{origin}" if origin else ""))
