"""From data settings to tasks."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from applications.nas.data import (
    Augment,
    FileAugment,
    Task,
    cifar_task,
    digits_tasks,
    image_folder_task,
    imagenet_task,
    large_folder_task,
    mnist_task,
)
from applications.nas.launch import Ranks
from applications.nas.settings import (
    CifarData,
    Data,
    Device,
    DigitsData,
    FashionData,
    FolderData,
    ImageNetData,
)
from mlo import ConfigError

JITTER = (0.4, 0.4, 0.4, 0.2)
"""How far a retraining on image files changes brightness, contrast, saturation and hue, as in DARTS."""


def load_tasks(data: Data, seed: int, *, cutout: int = 0, retraining: bool = False) -> tuple[Task, ...]:
    """Load the tasks of a search or a retraining.

    Args:
        data: Which.
        seed: Of the splits.
        cutout: Side of the square cut out of training images; 0 for none. Digits have no augmentation at all.
        retraining: Whether training images that are decoded when needed change in color, too, which those of a search
            do not.

    Returns:
        The tasks in the order in which they are interleaved; names are unique.

    Raises:
        ConfigError: If no folder is named.
        DataError: If something is missing or broken; the message names it.
    """
    augment = Augment(cutout=cutout)
    file_augment = FileAugment(jitter=JITTER if retraining else (0.0, 0.0, 0.0, 0.0), cutout=cutout)
    match data:
        case DigitsData():
            tasks = digits_tasks(seed, data.tasks)
        case CifarData():
            tasks = tuple(_cifar(data, classes, seed, augment) for classes in data.classes)
        case FashionData():
            tasks = tuple(_mnist(data, kind, seed, cutout) for kind in data.sets)
        case ImageNetData():
            tasks = (_imagenet(data, seed, file_augment),)
        case FolderData():
            tasks = tuple(_folder(data, index, seed, augment, file_augment) for index in range(len(data.roots)))
    if not tasks:
        raise ConfigError("data: no task is named: give --data.roots FOLDER ... (or --data.classes for CIFAR)")
    return tasks


def task_names(data: Data) -> tuple[str, ...]:
    """Return what the tasks of some data will be called, in their order; nothing is read."""
    match data:
        case DigitsData():
            return data.tasks
        case CifarData():
            return tuple(f"cifar{classes}" for classes in data.classes)
        case FashionData():
            return data.sets
        case ImageNetData():
            return ("imagenet",)
        case FolderData():
            names = [Path(os.path.realpath(path)).name for path in data.roots]  # resolve() raises for links in a circle
            pairs = enumerate(names, start=1)
            return tuple(name if names.count(name) == 1 else f"{name}-{number}" for number, name in pairs)


def _cifar(data: CifarData, classes: Literal[10, 100], seed: int, augment: Augment) -> Task:
    return cifar_task(
        data.root,
        classes=classes,
        download=data.download,
        seed=seed,
        split=data.split,
        subset=data.subset,
        statistics=data.statistics,
        augment=augment,
    )


def _mnist(data: FashionData, kind: Literal["fashion", "mnist"], seed: int, cutout: int) -> Task:
    return mnist_task(
        data.root,
        kind=kind,
        download=data.download,
        seed=seed,
        split=data.split,
        subset=data.subset,
        cutout=cutout,
    )


def _imagenet(data: ImageNetData, seed: int, augment: FileAugment) -> Task:
    return imagenet_task(
        data.root,
        seed=seed,
        side=data.side,
        train_share=data.train_share,
        valid_share=data.valid_share,
        augment=augment,
        workers=data.workers,
    )


def _folder(data: FolderData, index: int, seed: int, augment: Augment, file_augment: FileAugment) -> Task:
    root, name = data.roots[index], task_names(data)[index]
    if not data.lazy or data.side is None:
        return image_folder_task(
            root, name=name, side=data.side, seed=seed, split=data.split, subset=data.subset, augment=augment
        )
    return large_folder_task(
        root,
        name=name,
        side=data.side,
        seed=seed,
        split=data.split,
        subset=data.subset,
        augment=file_augment,
        workers=data.workers,
    )


def located(data: Data) -> Data:
    """Return the same data with absolute paths, so that they are found from any folder."""
    match data:
        case FolderData():
            return replace(data, roots=tuple(root.absolute() for root in data.roots))
        case CifarData() | FashionData() | ImageNetData():
            return replace(data, root=data.root.absolute())
        case DigitsData():
            return data


def choose_device(wanted: Device, ranks: Ranks = Ranks()) -> torch.device:
    """Return the device to compute on.

    Args:
        wanted: "cpu", "cuda", or "auto" for a GPU if there is one.
        ranks: Where there are several, each takes a GPU of its own.

    Raises:
        ConfigError: If a GPU is wanted and there is none, or too few for the ranks of this machine.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: cuda was asked for, but torch finds no GPU: use --device cpu")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if ranks.world == 1:
        return torch.device("cuda")
    gpus = torch.cuda.device_count()
    if ranks.local >= gpus:
        raise ConfigError(f"device: rank {ranks.rank} finds no GPU of its own: start --nproc-per-node {gpus} at most")
    return torch.device("cuda", ranks.local)


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
