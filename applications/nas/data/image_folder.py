"""A folder of images, laid out as torchvision's `ImageFolder` wants it, read once into memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from applications.nas.data.augment import Augment
from applications.nas.data.decode import IMAGE_SUFFIXES, decode
from applications.nas.data.split import halves_and_test
from applications.nas.data.task import Images, Task, channel_statistics
from mlo import DataError

_LAYOUT = "the layout is ROOT/{train,test}/CLASS/IMAGE"


def image_folder_task(
    root: str | Path,
    *,
    name: str,
    side: int | None = None,
    seed: int,
    subset: int | None = None,
    augment: Augment | None = Augment(),
) -> Task:
    """Read ROOT/{train,test}/CLASS/IMAGE as one task.

    Only these two levels have a meaning: a class may itself be called "train". Classes are numbered in the order of
    their names; hidden files and files that are no images by their suffix are passed over.

    Args:
        root: The folder that holds `train` and `test`.
        name: How reports call the task.
        side: Resize to side x side, cropping the longer side evenly; None if all images have one size already.
        seed: Decides which train image goes to which half.
        subset: Images to keep in each of the three parts, class-balanced; None for all. Others are not decoded.
        augment: What is done to training images.

    Returns:
        The task: RGB, uint8, `train` cut in two halves class by class, mean and std of both halves together.

    Raises:
        DataError: A folder or a class is missing, empty or different in the two parts; an image is broken or of
            another size; the subset is too large.
    """
    root = Path(root)
    train, test = _listing(root, "train"), _listing(root, "test")
    _check_same_classes(root, set(train), set(test))
    for label, files in train.items():
        if len(files) < 2:
            raise DataError(f"{root / 'train' / label}: a single image cannot be cut in two halves: add another")
    train_files, train_labels = _flatten(train)
    test_files, test_labels = _flatten(test)
    chosen = halves_and_test(train_labels, test_labels, seed=seed, subset=subset)
    pixels = decode(
        [train_files[i] for i in torch.cat(chosen[:2]).tolist()] + [test_files[i] for i in chosen[2].tolist()], side
    )
    first, second, last = pixels.split([len(part) for part in chosen])
    mean, std = channel_statistics(pixels[: len(first) + len(second)])
    return Task(
        name=name,
        classes=tuple(train),
        train=Images(first, train_labels[chosen[0]]),
        valid=Images(second, train_labels[chosen[1]]),
        test=Images(last, test_labels[chosen[2]]),
        mean=mean,
        std=std,
        augment=augment,
    )


def _listing(root: Path, part: str) -> dict[str, list[Path]]:
    folder = root / part
    if not root.is_dir():
        raise DataError(f"{root}: no such folder: give the folder that holds train and test")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder: {_LAYOUT}{_hint(root)}")
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise DataError(f"{folder}: no classes: {_LAYOUT}, so put one folder for each class here{_hint(root)}")
    return {path.name: _images(path) for path in classes}


def _hint(root: Path) -> str:
    """Name the folder that was probably meant: an archive often unpacks into a folder of its own."""
    for near in (root.parent, *sorted(path for path in root.iterdir() if path.is_dir())):
        if (near / "train").is_dir() and (near / "test").is_dir():
            return f"; did you mean {near}?"
    return ""


def _images(folder: Path) -> list[Path]:
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if not files:
        raise DataError(f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)}): add some, or remove the empty class")
    return files


def _check_same_classes(root: Path, train: set[str], test: set[str]) -> None:
    for here, there, names in (("train", "test", train - test), ("test", "train", test - train)):
        if names:
            listed = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
            raise DataError(f"{root / there}: classes {listed} are only in {root / here}: both need the same classes")


def _flatten(listing: dict[str, list[Path]]) -> tuple[Sequence[Path], Tensor]:
    files = [path for paths in listing.values() for path in paths]
    labels = [label for label, paths in enumerate(listing.values()) for _ in paths]
    return files, torch.tensor(labels, dtype=torch.int64)
