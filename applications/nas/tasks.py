"""From data settings to tasks."""

from __future__ import annotations

from dataclasses import replace

import torch

from applications.nas.data import Augment, Task, cifar_task, digits_tasks, image_folder_task
from applications.nas.settings import CifarData, Data, Device, DigitsData, FolderData
from mlo import ConfigError


def load_tasks(data: Data, seed: int, *, cutout: int = 0) -> tuple[Task, ...]:
    """Load the tasks of a search or a retraining.

    Args:
        data: Which.
        seed: Of the splits.
        cutout: Side of the square cut out of training images; 0 for none.

    Returns:
        The tasks in the order in which they are interleaved; names are unique.

    Raises:
        ConfigError: If no folder is named.
        DataError: If something is missing or broken; the message names it.
    """
    augment = Augment(cutout=cutout)
    if isinstance(data, DigitsData):
        return digits_tasks(seed)
    if isinstance(data, CifarData):
        tasks: list[Task] = [
            cifar_task(data.root, classes=c, download=data.download, seed=seed, subset=data.subset, augment=augment)
            for c in data.classes
        ]
    else:
        tasks = [_folder(data, index, seed, augment) for index in range(len(data.roots))]
    if not tasks:
        raise ConfigError("data: no task is named: give --data.roots FOLDER ... (or --data.classes for CIFAR)")
    return tuple(tasks)


def _folder(data: FolderData, index: int, seed: int, augment: Augment) -> Task:
    root = data.roots[index]
    names = [path.resolve().name for path in data.roots]
    name = names[index] if names.count(names[index]) == 1 else f"{names[index]}-{index + 1}"
    return image_folder_task(root, name=name, side=data.side, seed=seed, subset=data.subset, augment=augment)


def located(data: Data) -> Data:
    """Return the same data with absolute paths, so that they are found from any folder."""
    if isinstance(data, FolderData):
        return replace(data, roots=tuple(root.absolute() for root in data.roots))
    return replace(data, root=data.root.absolute()) if isinstance(data, CifarData) else data


def choose_device(wanted: Device) -> torch.device:
    """Return the device to compute on.

    Args:
        wanted: "cpu", "cuda", or "auto" for a GPU if there is one.

    Raises:
        ConfigError: If a GPU is wanted and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: cuda was asked for, but torch finds no GPU: use --device cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def choose_task(tasks: tuple[Task, ...], name: str) -> Task:
    """Return the task called `name`, or the first for an empty name.

    Raises:
        ConfigError: If there is none of that name.
    """
    if not name:
        return tasks[0]
    for task in tasks:
        if task.name == name:
            return task
    raise ConfigError(f"formulation: no task is called {name!r}; the tasks are {', '.join(t.name for t in tasks)}")
