"""Read the folder of a retraining, and test its networks again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from applications.nas.config_file import from_json
from applications.nas.data import Task
from applications.nas.files import read_object, read_text
from applications.nas.launch import Ranks
from applications.nas.progress import Tick
from applications.nas.retrain.build import build_network, measure_on
from applications.nas.retrain.evaluation import score
from applications.nas.retrain.ledger import read_unfinished
from applications.nas.retrain.training import Training
from applications.nas.retrain.weights_file import load_weights
from applications.nas.run_folder import CONFIG, DATA, RESULTS, read_genotype
from applications.nas.run_folder.place import UNFINISHED, is_finished
from applications.nas.settings import Data, Device, RetrainData, RetrainSettings, TorchvisionForm
from applications.nas.space.genotype import Genotype
from applications.nas.tasks import choose_device, load_tasks
from mlo import DataError


@dataclass(frozen=True)
class RetrainFolder:
    """What a retraining left.

    Attributes:
        path: The folder.
        name: How reports call the architecture.
        genotype: The cell; None for a network of torchvision.
        settings: How it was trained.
        source: On what.
        trainings: What came out.
        search: Folder of the search that found the cell, if that is known and asked for.
    """

    path: Path
    name: str
    genotype: Genotype | None
    settings: RetrainSettings
    source: RetrainData
    trainings: tuple[Training, ...]
    search: Path | None = None


def read_begun(path: Path) -> RetrainFolder:
    """Read the folder of a retraining that may have been stopped.

    Raises:
        DataError: If it is none, or a file is missing or broken; the message names it.
        ConfigError: If its settings are not well formed.
    """
    if is_finished(path):
        return read_retrain_folder(path)
    if not (path / UNFINISHED).is_file():
        raise DataError(f"{path / UNFINISHED} does not exist: give the folder of a retraining that was stopped")
    begun, (settings, source, genotype) = read_unfinished(path), _read_request(path)
    search = None if begun.search is None else path / begun.search
    return RetrainFolder(path, begun.cell, genotype, settings, source, begun.trainings, search)


def read_retrain_folder(path: Path) -> RetrainFolder:
    """Read the folder of a finished retraining.

    Raises:
        DataError: If it is none, or a file is missing or broken; the message names it.
        ConfigError: If its settings are not well formed.
    """
    content = _read_results(path)
    settings, source, genotype = _read_request(path)
    try:
        trainings = tuple(_training(one) for one in content["trainings"])
        return RetrainFolder(path, str(content["cell"]), genotype, settings, source, trainings)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path / RESULTS} is not what a retraining writes ({error}): train again") from error


def evaluate_again(
    folder: RetrainFolder, data: Data, device: Device, begin: Callable[[str], Tick], ranks: Ranks = Ranks()
) -> tuple[Training, ...]:
    """Test every network of a retraining again.

    Args:
        folder: The retraining.
        data: Where its tasks are now; their names must be the same.
        device: Where to compute.
        begin: Begins a piece of work by its label, and returns what to call as it goes on.
        ranks: The processes that share the test images.

    Returns:
        The trainings with errors, metrics, costs and numbers of images as they are found now.

    Raises:
        DataError: If weights or data are missing, broken or of another network.
    """
    tasks = {task.name: task for task in load_tasks(data, folder.source.seed)}
    for training in folder.trainings:
        if training.task not in tasks:
            known = ", ".join(tasks)
            raise DataError(f"task {training.task!r} is not among the data, which hold {known}: name other data")
    tick, found = begin("evaluate"), []
    for index, training in enumerate(folder.trainings):
        tick(index, len(folder.trainings), f"{training.task}, seed {training.seed}")
        found.append(_again(folder, training, tasks[training.task], device, ranks))
    tick(len(found), len(found), "")
    return tuple(found)


def _again(folder: RetrainFolder, training: Training, task: Task, device: Device, ranks: Ranks) -> Training:
    network = build_network(folder.genotype, task, folder.settings)
    load_weights(network, folder.path / f"{training.task}-{training.seed}.pt")
    now = score(network.to(choose_device(device, ranks)), task, ranks)
    cost = measure_on(folder.genotype, task, folder.settings)
    return replace(
        training,
        error=now.error,
        top5=now.top5,
        metric=task.objective.metric,
        tested=len(task.test),
        parameters=cost.parameters,
        multiply_adds=cost.multiply_adds,
    )


def _read_request(path: Path) -> tuple[RetrainSettings, RetrainData, Genotype | None]:
    """Read how a network was to be trained, on what, and its cell."""
    settings = from_json(RetrainSettings, read_text(path / CONFIG), str(path / CONFIG))
    source = from_json(RetrainData, read_text(path / DATA), str(path / DATA))
    return settings, source, None if isinstance(settings.network, TorchvisionForm) else read_genotype(path)


def _training(one: dict[str, Any]) -> Training:
    training = Training(**one)
    return replace(training, task=str(training.task), seed=int(training.seed), error=float(training.error))


def _read_results(path: Path) -> dict[str, Any]:
    file = path / RESULTS
    if (path / UNFINISHED).is_file():
        fix = f"go on with it by `mlo-nas retrain --resume {path}`"
        raise DataError(f"{file} does not exist (the retraining has not finished): {fix}")
    if not file.is_file():
        why = "the retraining has not finished" if (path / DATA).exists() else f"{path} is no folder of a retraining"
        raise DataError(f"{file} does not exist ({why}): give the folder that `mlo-nas retrain` named at its end")
    content = read_object(file, "train again")
    if content.get("kind") != "retrain":
        raise DataError(f"{file} is not that of a retraining: give the folder that `mlo-nas retrain` named at its end")
    return content
