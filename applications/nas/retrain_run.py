"""A retraining with a folder of its own: one network for each task and seed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from applications.nas.progress import Tick
from applications.nas.retrain import Training, check_fit, retrain_seeds
from applications.nas.run_folder import GENOTYPE, RESULTS, write_config, write_json, write_text
from applications.nas.settings import RetrainSettings, SearchSettings
from applications.nas.space.genotype import Genotype
from applications.nas.tasks import load_tasks


def retrain_run(
    architecture: Genotype,
    name: str,
    searched: SearchSettings,
    settings: RetrainSettings,
    folder: Path,
    begin: Callable[[str], Tick],
    *,
    search: Path | None = None,
) -> tuple[Training, ...]:
    """Train an architecture on each task of a search, with each seed, and write its folder.

    Args:
        architecture: The cell.
        name: How tables call it.
        searched: The search whose data and split are taken.
        settings: How to train.
        folder: An empty folder.
        begin: Begins a line of progress by its label.
        search: The folder of the search that found the cell, if one did.
    """
    tasks = load_tasks(searched.data, searched.seed)
    for task in tasks:
        check_fit(architecture, task, settings)
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, settings)
    write_text(folder / GENOTYPE, architecture.to_json())
    trainings: tuple[Training, ...] = ()
    metrics = {task.name: task.objective.metric for task in tasks}
    for task in tasks:
        tick = begin(f"retrain on {task.name}")
        trainings += retrain_seeds(architecture, searched.data, searched.seed, task.name, settings, folder, tick)
    found = [
        {**vars(one), "metric": metrics[one.task], "top5": None, "multiply_adds": None, "parameters": one.parameters}
        for one in trainings
    ]
    content = {
        "kind": "retrain",
        "cell": name,
        "search": None if search is None else os.path.relpath(search.resolve(), folder.resolve()),
        "skips": architecture.count("skip_connect"),
        "trainings": found,
    }
    write_json(folder / RESULTS, content)
    return trainings
