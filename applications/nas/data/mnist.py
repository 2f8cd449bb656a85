"""Fashion-MNIST and MNIST from their original files."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, Literal

from applications.nas.data._vision import load_torchvision
from applications.nas.data.augment import Augment
from applications.nas.data.memory import Images
from applications.nas.data.split import SplitKind
from applications.nas.data.task import Task
from applications.nas.data.two_sets import memory_task
from mlo import ConfigError, DataError

_NAMES = {"fashion": "FashionMNIST", "mnist": "MNIST"}


def mnist_task(
    root: str | Path,
    *,
    kind: Literal["fashion", "mnist"] = "fashion",
    download: bool = False,
    seed: int,
    split: SplitKind = "halves",
    subset: int | None = None,
    cutout: int = 0,
) -> Task:
    """Read Fashion-MNIST or MNIST through torchvision.

    torchvision compares the packed files with their known checksums while it downloads them; here this is done
    whenever they are read, and the unpacked files are compared with the packed ones.

    Args:
        root: Folder that holds `FashionMNIST/raw` or `MNIST/raw`, with the four packed and the four unpacked files.
        kind: Clothes or handwritten digits.
        download: Whether to fetch the files if they are missing.
        seed: Decides which image goes to which part.
        split: How the 60,000 train and 10,000 test images become three parts.
        subset: Images to keep in each of the three parts, class-balanced; None for all.
        cutout: Side of the square cut out of training images; 0 for none.

    Returns:
        The task "fashion" or "mnist", 1x28x28 uint8. Training images are cropped as those of CIFAR; clothes are
        mirrored, digits are not (a mirrored digit is no digit).

    Raises:
        ConfigError: There is no such `kind`.
        DataError: The files are missing or damaged, or the subset is too large.
    """
    if kind not in _NAMES:
        raise ConfigError(f"kind is {kind!r}: it is one of {', '.join(_NAMES)}")
    source: Any = getattr(load_torchvision().datasets, _NAMES[kind])
    sets = [_read(Path(root), source, train=train, download=download) for train in (True, False)]
    return memory_task(
        kind,
        tuple(source.classes),
        *sets,
        seed=seed,
        split=split,
        subset=subset,
        augment=Augment(flip=0.5 if kind == "fashion" else 0.0, cutout=cutout),
    )


def _read(root: Path, source: Any, *, train: bool, download: bool) -> Images:
    folder = root / source.__name__ / "raw"
    try:
        data = source(str(root), train=train, download=download)
    except (RuntimeError, OSError, EOFError, ValueError, TypeError, AssertionError, KeyError) as error:
        raise DataError(
            f"{folder}: no complete {source.__name__} here ({error}): pass --data.download or download=True, or put "
            f"the files of {source.mirrors[0]} there and unpack them"
        ) from error
    for archive, checksum in source.resources:
        if archive.startswith("train") == train:
            _check(folder / archive, checksum, source.mirrors[0] + archive)
    return Images(data.data.unsqueeze(1), data.targets)


def _check(archive: Path, checksum: str, url: str) -> None:
    """Refuse a packed file that is not the known one, or an unpacked one that differs from it."""
    known = load_torchvision().datasets.utils.check_integrity(str(archive), checksum)
    if not known:
        raise DataError(f"{archive}: missing or damaged (its checksum is not {checksum}): fetch it from {url}")
    unpacked = archive.with_suffix("")
    if gzip.decompress(archive.read_bytes()) != unpacked.read_bytes():
        raise DataError(f"{unpacked}: differs from what {archive.name} holds: unpack that again")
