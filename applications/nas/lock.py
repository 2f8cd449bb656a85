"""A lock that the system takes back when its holder ends, however that comes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def locked(file: Path, patience: float = 0.0) -> Iterator[bool]:
    """Hold a lock while the context lasts.

    Where the system or the file system knows no locks, nobody holds one, and everybody gets it.

    Args:
        file: Stands for what is locked; its folder exists.
        patience: How long to wait for another holder, in seconds.

    Yields:
        Whether the lock is held: not if another process still has it.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # not on Windows
        yield True
        return
    end = time.monotonic() + patience
    while True:
        with file.open("a") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found = True
            except BlockingIOError:
                found = False
            except OSError:  # some network file systems refuse all locks
                found = True
            if found and not _names(file, held):
                continue  # its last holder has removed it meanwhile
            if found or time.monotonic() >= end:
                yield found
                return
        time.sleep(0.2)


def _names(file: Path, held: TextIO) -> bool:
    """Return whether a path still is that of an open file."""
    try:
        return os.path.samestat(file.stat(), os.fstat(held.fileno()))
    except FileNotFoundError:
        return False


def is_locked(file: Path) -> bool:
    """Say whether another process holds a lock."""
    if not file.exists():
        return False
    with locked(file) as free:
        return not free
