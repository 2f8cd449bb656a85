"""A whole retraining: every task of a search, every seed, into a folder that explains itself and can be read again."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from applications.nas.config_file import from_json, to_json
from applications.nas.data import Task, check_splits
from applications.nas.files import read_object, read_text, tidy
from applications.nas.launch import Ranks, job_name
from applications.nas.progress import Tick
from applications.nas.retrain.build import check_fit
from applications.nas.retrain.folder import read_retrain_folder
from applications.nas.retrain.ledger import Ledger, Unfinished, read_unfinished
from applications.nas.retrain.pages import write_pages
from applications.nas.retrain.parallel import check_ranks
from applications.nas.retrain.several import Several
from applications.nas.retrain.training import Training
from applications.nas.run_folder import (
    CONFIG,
    DATA,
    ENVIRONMENT,
    GENOTYPE,
    RESULTS,
    SPLITS,
    write_config,
    write_json,
    write_text,
)
from applications.nas.run_folder.held import held
from applications.nas.run_folder.place import is_finished
from applications.nas.settings import RetrainData, RetrainSettings, SearchSettings
from applications.nas.space.genotype import Genotype
from applications.nas.stopping import Stopper
from applications.nas.tasks import load_tasks, located
from mlo import ConfigError, DataError, deterministic


def retrain_run(
    architecture: Genotype | None,
    name: str,
    searched: SearchSettings,
    settings: RetrainSettings,
    folder: Path,
    begin: Callable[[str], Tick],
    *,
    search: Path | None = None,
    ranks: Ranks = Ranks(),
    resumed: bool = False,
    stopper: Stopper | None = None,
) -> tuple[Training, ...]:
    """Train an architecture from scratch on each task of a search, with each seed, and test it.

    Nothing is written if a network does not fit its task. `results.json` comes after all trainings: a folder without
    it is that of a retraining that did not finish. Until then its states are kept there, and it can go on.

    Args:
        architecture: The cell; None for a network of torchvision, which the settings name.
        name: How reports call it.
        searched: Their `data` and `seed` give the tasks and how these are split.
        settings: How to train.
        folder: Where the files go: an empty folder, or that of the same retraining.
        begin: Begins a piece of work by its label, and returns what to call as it goes on.
        search: Folder of the search that found the cell.
        ranks: The processes that train together, one training after the other; the first one writes the files.
        resumed: Whether the retraining has begun in this folder, and goes on after the last step that was kept.
        stopper: Knows after each step whether the retraining is asked to stop; None if nobody asks.

    Returns:
        The trainings, by task, then by seed.

    Raises:
        ConfigError: If the network does not fit the images or the task, or what was begun is something else.
        DataError: If data are missing or broken.
        DivergenceError: If a training diverges; the others are finished and kept, and `PartlyTrained` holds them.
        Stopped: If it was asked to stop; what it did until then is kept.
    """
    tasks = load_tasks(searched.data, searched.seed, cutout=settings.cutout, retraining=True)
    check_ranks(settings, ranks)
    for task in tasks:
        check_fit(architecture, task, settings)
    if search is not None:
        _check_search(search, tasks)
    began = Unfinished(name, None if search is None else _relative(search, folder), job_name())
    with held(folder) if ranks.first else nullcontext():
        if ranks.first:
            tidy(folder)
        if resumed:
            before = ranks.from_first(_read(folder, architecture, searched, settings) if ranks.first else None)
            if before is None:
                return ranks.from_first(read_retrain_folder(folder).trainings if ranks.first else ())
            began = replace(before, torchrun=began.torchrun)
        ledger = Ledger(folder, began, ranks)
        if ranks.first and not (folder / ENVIRONMENT).is_file():
            write_text(folder / DATA, to_json(RetrainData(located(searched.data), searched.seed)))
            if architecture is not None:
                write_text(folder / GENOTYPE, architecture.to_json())
            with deterministic(on=settings.deterministic):  # what holds in the trainings is written down, too
                write_config(folder, settings)
        found = Several(architecture, settings, ledger, stopper).train(tasks, begin)
        if ranks.first:
            write_json(folder / RESULTS, _results(architecture, began, found, ranks))
            write_pages(folder, began.cell, architecture, settings, found, ranks.world)
        ledger.close()
    return found


def _read(
    folder: Path, architecture: Genotype | None, searched: SearchSettings, settings: RetrainSettings
) -> Unfinished | None:
    """Return what was done in a folder; None if it has finished.

    Raises:
        ConfigError: If it is another retraining that was begun there.
    """
    data = RetrainData(located(searched.data), searched.seed)
    for file, asked in ((CONFIG, settings), (DATA, data), (GENOTYPE, architecture)):
        path = folder / file
        if not path.is_file():  # it was stopped before this was written
            continue
        begun = (
            Genotype.from_json(read_text(path)) if file == GENOTYPE else from_json(type(asked), read_text(path), file)
        )
        if begun != asked:
            raise ConfigError(
                f"{path} is that of another retraining: ask for the same, or name another folder by --out"
            )
    return None if is_finished(folder) else read_unfinished(folder)


def _check_search(search: Path, tasks: tuple[Task, ...]) -> None:
    """Refuse tasks of the search that are split in another way now: the test part might hold what the search saw."""
    file = search / SPLITS
    if not file.is_file():
        return
    records = read_object(file, "search again")
    try:
        check_splits([task for task in tasks if task.name in records], records)
    except DataError as error:
        error.add_note(f"or, if that is meant, name the cell by --cell {search} instead of --run")
        raise


def _relative(search: Path, folder: Path) -> str:
    return Path(os.path.relpath(search, folder)).as_posix()


def _results(
    architecture: Genotype | None, began: Unfinished, found: tuple[Training, ...], ranks: Ranks
) -> dict[str, Any]:
    return {
        "kind": "retrain",
        "cell": began.cell,
        "search": began.search,
        "skips": None if architecture is None else architecture.count("skip_connect"),
        **({} if began.torchrun is None else {"torchrun": began.torchrun, "ranks": ranks.world}),
        "trainings": [asdict(training) for training in found],
    }
