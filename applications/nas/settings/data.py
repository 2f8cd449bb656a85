"""Where tasks come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class DigitsData:
    """scikit-learn's 8x8 digits as two tasks on disjoint images: which digit, and how many loops. No download."""


@dataclass(frozen=True)
class FolderData:
    """One task for each folder ROOT/{train,test}/CLASS/IMAGE."""

    roots: tuple[Path, ...] = ()
    """The folders, in the order in which the tasks are interleaved."""
    side: int | None = None
    """Resize to side x side pixels; left out: keep the size."""
    subset: int | None = None
    """Images to keep in each of train, valid and test, class-balanced; left out: all."""


@dataclass(frozen=True)
class CifarData:
    """CIFAR-10 and CIFAR-100 in their original files."""

    root: Path = Path("data")
    """Folder that holds cifar-10-batches-py and cifar-100-python."""
    classes: tuple[Literal[10, 100], ...] = (100, 10)
    """Which of the two, in the order in which the tasks are interleaved."""
    download: bool = False
    """Fetch the files if they are missing."""
    subset: int | None = None
    """Images to keep in each of train, valid and test, class-balanced; left out: all."""


Data = (
    Annotated[DigitsData, tyro.conf.subcommand("digits")]
    | Annotated[FolderData, tyro.conf.subcommand("folders")]
    | Annotated[CifarData, tyro.conf.subcommand("cifar")]
)
