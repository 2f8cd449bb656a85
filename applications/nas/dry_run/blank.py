"""Stand-ins for data that are not there, of the published sizes."""

from __future__ import annotations

import torch

from applications.nas.data import Augment, Images, Task
from applications.nas.data.cifar import STATISTICS
from applications.nas.settings import CifarData, Data

_HALF, _TEST, _SIDE = 25_000, 10_000, 32


def blank_tasks(data: Data) -> tuple[Task, ...]:
    """Return tasks of blank images, one byte of memory for all of them; empty if no sizes are published for the data.

    Args:
        data: Which data are missing.
    """
    if not isinstance(data, CifarData):
        return ()
    return tuple(_blank_cifar(classes, data.subset) for classes in data.classes)


def _blank_cifar(classes: int, subset: int | None) -> Task:
    names = tuple(str(label) for label in range(classes))
    mean, std = STATISTICS[classes]
    half, test = (_blank(subset or _HALF), _blank(subset or _TEST))
    return Task(f"cifar{classes}", names, half, half, test, mean, std, Augment())


def _blank(count: int) -> Images:
    pixels = torch.zeros((), dtype=torch.uint8).expand(count, 3, _SIDE, _SIDE)
    return Images(pixels, torch.zeros((), dtype=torch.int64).expand(count))
