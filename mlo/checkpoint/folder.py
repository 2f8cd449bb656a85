"""A folder that is written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlo.checkpoint.lock import alone
from mlo.errors import DamagedError, DataError

MANIFEST = "mlo.json"
_METADATA = ".metadata"
_TENSORS = ".distcp"


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Give a new folder beside `folder`, and put it in its place once the body is done.

    A process that is killed leaves the old folder as it was, or beside its place, where `present` finds it.

    Raises:
        DataError: If `folder` holds other things than a checkpoint, or cannot be written.
    """
    with _explained(folder):
        _check_replaceable(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with alone(folder.parent):
            yield from _replaced(folder, _beside(folder, "new"), _beside(folder, "old"))


def _replaced(folder: Path, new: Path, old: Path) -> Iterator[Path]:
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    try:
        yield new
        _flush(new)
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        _flush(folder.parent)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
        elif old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def present(folder: Path) -> Path:
    """Return where the checkpoint of that name lies: in its place, or beside it, if its replacement was cut short.

    Raises:
        DataError: If there is none, or the disk cannot be read.
    """
    with readable(folder):
        return _present(folder)


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Say which folder it is that the system cannot read.

    Raises:
        DataError: In the place of an OSError.
    """
    try:
        yield
    except OSError as error:
        cure = "see that it may be read, and that its disk is there"
        raise DataError(f"{folder}: cannot be read ({error.strerror or error}): {cure}") from error


def _present(folder: Path) -> Path:
    if not folder.exists() and (_beside(folder, "old") / MANIFEST).is_file():
        return _beside(folder, "old")
    cure = "give a folder that mlo.save wrote"
    if not folder.is_dir():
        raise DataError(f"{folder}: {'is not a folder' if folder.exists() else 'there is no such folder'}: {cure}")
    if not (folder / MANIFEST).is_file():
        raise DamagedError(f"{folder}: holds no {MANIFEST}, so it is no checkpoint: {cure}")
    return folder


def discard(folder: Path) -> None:
    """Remove a checkpoint, with what a replacement that was cut short has left of it."""
    new = _beside(folder, "new")
    for path in (_beside(folder, "old"), folder):
        shutil.rmtree(new, ignore_errors=True)
        # Under a name that nobody reads: a process that is killed now must not leave a half of it.
        with suppress(OSError):
            path.rename(new)
    shutil.rmtree(new, ignore_errors=True)


def written(file: Path, text: str) -> None:
    """Write a new text file, and wait until it is on the disk."""
    with file.open("x", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _beside(folder: Path, what: str) -> Path:
    return folder.parent / f".{folder.name}.mlo-{what}"


def _check_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    found = sorted(item.name for item in folder.iterdir())
    foreign = [name for name in found if name not in (MANIFEST, _METADATA) and not name.endswith(_TENSORS)]
    if foreign or (found and MANIFEST not in found):
        what = foreign[0] if foreign else found[0]
        cure = "choose a folder that does not exist yet, such as one inside of it"
        raise DataError(f"{folder}: holds {what!r}, which is no part of a checkpoint and would be lost: {cure}")


def _flush(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where a system can tell."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        cure = "free some space, or choose another folder"
        raise DataError(f"{folder}: cannot be written ({error.strerror or error}): {cure}") from error
