"""A whole retraining: every task of a search, every seed, into a folder that explains itself and can be read again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from applications.nas.build import check_fit
from applications.nas.config_file import to_json
from applications.nas.data import Task, check_splits
from applications.nas.progress import Tick
from applications.nas.retrain import Training, retrain_task
from applications.nas.retrain_table import as_markdown
from applications.nas.run_folder import GENOTYPE, RESULTS, write_config, write_json, write_text
from applications.nas.settings import RetrainData, RetrainSettings, SearchSettings, TorchvisionForm
from applications.nas.space.genotype import Genotype
from applications.nas.tasks import load_tasks, located
from mlo import DataError

SPLITS = "splits.json"
DATA = "data.json"
"""File of a retraining's folder that says what was learned, a `RetrainData`."""


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

    Nothing is written if a network does not fit its task. `results.json` comes last: a folder without it is that of a
    retraining that did not finish.

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
    write_text(folder / "README.md", _readme(name, settings, found))
    write_json(folder / RESULTS, _results(architecture, name, folder, search, found))
    return found


def _check_search(search: Path, tasks: tuple[Task, ...]) -> None:
    """Refuse tasks of the search that are split in another way now: the test part might hold what the search saw."""
    file = search / SPLITS
    if not file.is_file():
        return
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as JSON ({error}): search again") from error
    try:
        check_splits([task for task in tasks if task.name in records], records)
    except DataError as error:
        error.add_note(f"or, if that is meant, name the cell by --cell {search} instead of --run")
        raise


def _results(
    architecture: Genotype | None, name: str, folder: Path, search: Path | None, found: tuple[Training, ...]
) -> dict[str, Any]:
    keys = ("task", "metric", "seed", "error", "top5", "parameters", "multiply_adds", "seconds", "tested")
    return {
        "kind": "retrain",
        "cell": name,
        "search": None if search is None else Path(os.path.relpath(search, folder)).as_posix(),
        "skips": None if architecture is None else architecture.count("skip_connect"),
        "trainings": [{key: getattr(training, key) for key in keys} for training in found],
    }


_FILES = f"""\
| TASK-SEED.csv | learning rate, loss and training error by epoch |
| TASK-SEED.pt | the weights that were tested: a state dict for `torch.load(..., weights_only=True)` |
| {RESULTS} | every number of the table, by seed |
| config.json, {DATA} | settings; data and seed of the split |
| environment.json | versions |
"""


def _readme(name: str, settings: RetrainSettings, found: tuple[Training, ...]) -> str:
    made = isinstance(settings.network, TorchvisionForm)
    tested = "the last weights" if settings.ema is None else f"a moving average of the weights ({settings.ema})"
    how = f"{'A network' if made else 'Networks of this cell'}, trained from scratch on the train and valid parts of "
    how += f"each task ({_count(settings.epochs, 'epoch')}), and tested once, at the end, on the test part: {tested}."
    spread = "Mean ± standard deviation over" if len(settings.seeds) > 1 else "From"
    notes = f"{spread} {_count(len(settings.seeds), 'seed')} of the retraining. Parameters and multiply-adds (of one "
    notes += "image, in convolutions and linear layers) leave out the auxiliary head."
    again = "`mlo-nas evaluate FOLDER` tests the weights in this folder again."
    cell = "" if made else f"| {GENOTYPE} | the cell |\n"
    files = f"| file | what it is |\n|---|---|\n{cell}{_FILES}"
    return "\n".join([f"# Retraining of {name}", "", how, "", as_markdown(found), notes, "", again, "", files])


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
