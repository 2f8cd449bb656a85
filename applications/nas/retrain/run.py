"""A whole retraining: every task of a search, every seed, into a folder that explains itself and can be read again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from applications.nas.config_file import to_json
from applications.nas.data import Task, check_splits
from applications.nas.files import read_json
from applications.nas.progress import Tick
from applications.nas.retrain.build import check_fit
from applications.nas.retrain.pages import write_pages
from applications.nas.retrain.train import Training, retrain_task
from applications.nas.run_folder import DATA, GENOTYPE, RESULTS, SPLITS, write_config, write_json, write_text
from applications.nas.settings import RetrainData, RetrainSettings, SearchSettings
from applications.nas.space.genotype import Genotype
from applications.nas.tasks import load_tasks, located
from mlo import DataError


def retrain_run(
    architecture: Genotype | None,
    name: str,
    searched: SearchSettings,
    settings: RetrainSettings,
    folder: Path,
    begin: Callable[[str], Tick],
    *,
    search: Path | None = None,
) -> tuple[Training, ...]:
    """Train an architecture from scratch on each task of a search, with each seed, and test it.

    Nothing is written if a network does not fit its task. `results.json` comes after all trainings: a folder without
    it is that of a retraining that did not finish.

    Args:
        architecture: The cell; None for a network of torchvision, which the settings name.
        name: How reports call it.
        searched: Their `data` and `seed` give the tasks and how these are split.
        settings: How to train.
        folder: Where the files go: an empty folder.
        begin: Begins a piece of work by its label, and returns what to call as it goes on.
        search: Folder of the search that found the cell.

    Returns:
        The trainings, by task, then by seed.

    Raises:
        ConfigError: If the network does not fit the images or the task.
        DataError: If data are missing or broken.
        DivergenceError: If a training diverges.
    """
    tasks = load_tasks(searched.data, searched.seed, cutout=settings.cutout, retraining=True)
    for task in tasks:
        check_fit(architecture, task, settings)
    if search is not None:
        _check_search(search, tasks)
    write_config(folder, settings)
    write_text(folder / DATA, to_json(RetrainData(located(searched.data), searched.seed)))
    if architecture is not None:
        write_text(folder / GENOTYPE, architecture.to_json())
    found: tuple[Training, ...] = ()
    for task in tasks:
        found += retrain_task(architecture, task, settings, folder, begin(f"retrain on {task.name}"))
    write_json(folder / RESULTS, _results(architecture, name, folder, search, found))
    write_pages(folder, name, architecture, settings, found)
    return found


def _check_search(search: Path, tasks: tuple[Task, ...]) -> None:
    """Refuse tasks of the search that are split in another way now: the test part might hold what the search saw."""
    file = search / SPLITS
    if not file.is_file():
        return
    records = read_json(file, "search again")
    try:
        check_splits([task for task in tasks if task.name in records], records)
    except DataError as error:
        error.add_note(f"or, if that is meant, name the cell by --cell {search} instead of --run")
        raise


def _results(
    architecture: Genotype | None, name: str, folder: Path, search: Path | None, found: tuple[Training, ...]
) -> dict[str, Any]:
    return {
        "kind": "retrain",
        "cell": name,
        "search": None if search is None else Path(os.path.relpath(search, folder)).as_posix(),
        "skips": None if architecture is None else architecture.count("skip_connect"),
        "trainings": [asdict(training) for training in found],
    }
