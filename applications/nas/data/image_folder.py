"""A folder of images, laid out as torchvision's `ImageFolder` wants it: read into memory, or left on disk."""

from __future__ import annotations

from pathlib import Path

from applications.nas.data.augment import Augment, FileAugment
from applications.nas.data.decode import decode
from applications.nas.data.files import ImageFiles
from applications.nas.data.listing import Listing, list_parts
from applications.nas.data.memory import Images
from applications.nas.data.split import Split, SplitKind, check_covered, cut
from applications.nas.data.statistics import channel_statistics
from applications.nas.data.task import Task
from applications.nas.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from mlo import DataError

_PARTS = ("train", "test")


def image_folder_task(
    root: str | Path,
    *,
    name: str,
    side: int | None = None,
    seed: int,
    split: SplitKind = "halves",
    subset: int | None = None,
    augment: Augment | None = Augment(),
) -> Task:
    """Read ROOT/{train,test}/CLASS/IMAGE into memory as one task.

    Only these two levels have a meaning: a class may itself be called "train". Classes are numbered in the order of
    their names; hidden files and files that are no images by their suffix are passed over.

    Args:
        root: The folder that holds `train` and `test`.
        name: How reports call the task.
        side: Resize to side x side, cropping the longer side evenly; None if all images have one size already.
        seed: Decides which image goes to which part.
        split: How the two sets become three parts.
        subset: Images to keep in each of the three parts, class-balanced; None for all. Others are not decoded.
        augment: What is done to training images.

    Returns:
        The task: RGB, uint8, mean and std of train and valid together.

    Raises:
        DataError: A folder or a class is missing, empty or different in the two parts; an image is broken or of
            another size; the subset is too large.
    """
    train, test = list_parts(Path(root), _PARTS)
    chosen = _cut(train, test, split, seed, subset)
    lists = [
        (train if source == "train" else test, part) for source, part in zip(chosen.sources, chosen.parts, strict=True)
    ]
    pixels = decode([path for listing, part in lists for path in listing.paths(part)], side)
    sizes = [len(part) for part in chosen.parts]
    mean, std = channel_statistics(pixels[: sizes[0] + sizes[1]])
    first, second, third = (
        Images(piece, listing.labels[part]) for piece, (listing, part) in zip(pixels.split(sizes), lists, strict=True)
    )
    return Task(name, train.classes, first, second, third, mean, std, augment, split=chosen)


def large_folder_task(
    root: str | Path,
    *,
    name: str,
    side: int,
    seed: int,
    split: SplitKind = "halves",
    subset: int | None = None,
    augment: FileAugment | None = FileAugment(),
    workers: int = 0,
) -> Task:
    """Take ROOT/{train,test}/CLASS/IMAGE as one task whose images are decoded whenever a batch needs them.

    Args:
        root: The folder that holds `train` and `test`.
        name: How reports call the task.
        side: Height and width in pixels that a network sees: of a random crop in training, of the center in a test.
        seed: Decides which image goes to which part, as in `image_folder_task`.
        split: How the two sets become three parts.
        subset: Images to keep in each of the three parts, class-balanced; None for all.
        augment: What is done to training images.
        workers: Processes that decode; 0 to do it in this one.

    Returns:
        The task; mean and std are the usual ones of ImageNet, as no image is read before it is needed.

    Raises:
        DataError: A folder or a class is missing, empty or different in the two parts; the subset is too large.
    """
    train, test = list_parts(Path(root), _PARTS)
    chosen = _cut(train, test, split, seed, subset)
    train_files, test_files = as_files(train, side, workers), as_files(test, side, workers)
    first, second, third = (
        (train_files if source == "train" else test_files).take(part)
        for source, part in zip(chosen.sources, chosen.parts, strict=True)
    )
    return Task(name, train.classes, first, second, third, IMAGENET_MEAN, IMAGENET_STD, augment, split=chosen)


def as_files(listing: Listing, side: int, workers: int) -> ImageFiles:
    """Return all images of a listing, left on disk."""
    return ImageFiles(listing.root, listing.names, listing.labels, side, workers)


def _cut(train: Listing, test: Listing, split: SplitKind, seed: int, subset: int | None) -> Split:
    try:
        chosen = cut(train.labels, test.labels, kind=split, seed=seed, subset=subset, names=train.classes)
    except DataError as error:
        raise DataError(f"{train.root}: {error}") from error
    check_covered(chosen, train.labels, train.classes, str(train.root / "train"))
    return chosen
