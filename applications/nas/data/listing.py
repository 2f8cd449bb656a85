"""Which image files a folder ROOT/PART/CLASS/IMAGE holds, in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from applications.nas.data.files import Names
from mlo import DataError

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")


@dataclass(frozen=True, eq=False)
class Listing:
    """The files of one part of a folder.

    Attributes:
        root: The folder.
        names: (N,) file names as bytes, relative to it; class by class.
        labels: (N,) int64, the place of each class in `classes`.
        classes: Names of the classes, ascending.
    """

    root: Path
    names: Names
    labels: Tensor
    classes: tuple[str, ...]

    def paths(self, indices: Tensor) -> list[Path]:
        """Return where the files at `indices` lie."""
        return [self.root / os.fsdecode(name) for name in self.names[indices.numpy()].tolist()]


def list_parts(root: Path, parts: tuple[str, str]) -> tuple[Listing, Listing]:
    """List the files of two parts with the same classes.

    Only the two levels PART and CLASS have a meaning: a class may itself be called "train". Hidden files and files
    that are no images by their suffix are passed over; links are followed.

    Args:
        root: The folder that holds both.
        parts: What the two folders in it are called, such as "train" and "test".

    Raises:
        DataError: A folder or a class is missing, empty, or different in the two parts.
    """
    first, second = _scan(root, parts[0], parts), _scan(root, parts[1], parts)
    for (here, one), (there, other) in (
        ((parts[0], first), (parts[1], second)),
        ((parts[1], second), (parts[0], first)),
    ):
        extra = [name for name in one if name not in other]
        if extra:
            listed = ", ".join(extra[:5]) + (", ..." if len(extra) > 5 else "")
            raise DataError(f"{root / there}: classes {listed} are only in {root / here}: both need the same classes")
    return _flatten(root, first), _flatten(root, second)


def _scan(root: Path, part: str, parts: tuple[str, str]) -> dict[str, list[str]]:
    folder, layout = root / part, f"the layout is ROOT/{{{','.join(parts)}}}/CLASS/IMAGE"
    if not root.is_dir():
        raise DataError(f"{root}: no such folder: give the folder that holds {parts[0]} and {parts[1]}")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder: {layout}{_hint(root, parts)}")
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        hint = _hint(root, parts)
        raise DataError(f"{folder}: no classes: {layout}, so put one folder for each class here{hint}")
    return {name: _images(root, folder / name) for name in classes}


def _hint(root: Path, parts: tuple[str, str]) -> str:
    """Name the folder that was probably meant, as an archive often unpacks into one; or say what to move."""
    for near in (root.parent, *sorted(path for path in root.iterdir() if path.is_dir())):
        if all((near / part).is_dir() for part in parts):
            return f"; did you mean {near}?"
    if any(_holds_images(path) for path in root.iterdir() if path.is_dir() and path.name not in parts):
        first, second = parts
        return f"; move the folders of the classes into {root / first}, and some images of each into {root / second}"
    return ""


def _holds_images(folder: Path) -> bool:
    return any(name.lower().endswith(IMAGE_SUFFIXES) for name in os.listdir(folder))


def _images(root: Path, folder: Path) -> list[str]:
    # Strings and no Path objects: a million of them would take a minute.
    files = []
    for place, _, names in os.walk(folder, followlinks=True):
        within = os.path.relpath(place, root)
        images = (name for name in names if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."))
        files += [os.path.join(within, name) for name in images]
    if not files:
        raise DataError(f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)}): add some, or remove the empty class")
    return sorted(files)


def _flatten(root: Path, files: Mapping[str, list[str]]) -> Listing:
    names = np.array([os.fsencode(name) for found in files.values() for name in found], dtype=np.bytes_)
    counts = torch.tensor([len(found) for found in files.values()])
    return Listing(root, names, torch.arange(len(files)).repeat_interleave(counts), tuple(files))
