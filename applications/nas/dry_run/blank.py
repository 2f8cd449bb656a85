"""Stand-ins for data that are not there, of the published sizes."""

from __future__ import annotations

import torch

from applications.nas.data import Augment, Images, Task
from applications.nas.settings import CifarData, Data, FashionData, ImageNetData

_CIFAR, _MNIST, _TEST = 50_000, 60_000, 10_000
_IMAGENET, _IMAGENET_TEST = 1_281_167, 50_000


def blank_tasks(data: Data) -> tuple[Task, ...]:
    """Return tasks of blank images, which take next to no memory.

    Args:
        data: Which data are missing.

    Returns:
        One task for each that the data name; none where no sizes are published, as for folders.
    """
    match data:
        case CifarData():
            sizes = _parts(_CIFAR, data.split, data.subset)
            return tuple(_blank(f"cifar{classes}", classes, (3, 32, 32), sizes) for classes in data.classes)
        case FashionData():
            sizes = _parts(_MNIST, data.split, data.subset)
            return tuple(_blank(name, 10, (1, 28, 28), sizes) for name in data.sets)
        case ImageNetData():
            shares = (data.train_share, data.valid_share)
            first, second = (round(share * _IMAGENET) for share in shares)
            return (_blank("imagenet", 1000, (3, data.side, data.side), (first, second, _IMAGENET_TEST)),)
        case _:
            return ()


def _parts(train: int, split: str, subset: int | None) -> tuple[int, int, int]:
    """Return the sizes of train, valid and test that an official train set gives."""
    if subset is not None:
        return subset, subset, subset
    return (
        (train * 45 // 100, train * 45 // 100, train // 10) if split == "ablation" else (train // 2, train // 2, _TEST)
    )


def _blank(name: str, classes: int, shape: tuple[int, int, int], sizes: tuple[int, int, int]) -> Task:
    byte, label = torch.zeros((), dtype=torch.uint8), torch.zeros((), dtype=torch.int64)
    train, valid, test = (Images(byte.expand(size, *shape), label.expand(size)) for size in sizes)
    half = (0.5,) * shape[0]
    return Task(name, tuple(map(str, range(classes))), train, valid, test, half, half, Augment())
