"""One process at a time that writes checkpoints into a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlo.errors import DataError

PATIENCE = 60.0
"""Seconds to wait for another process."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process writes a checkpoint into a folder, and keep others waiting while the body runs.

    The system holds the lock, on the folder itself: there is no file of it, and it ends with the process that has it.
    Where the system or the file system knows no locks, nobody waits.

    Args:
        folder: It exists.

    Raises:
        DataError: If another process does not end.
        OSError: If the folder cannot be opened.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # not on Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        end = time.monotonic() + PATIENCE
        while not _taken(handle):
            if time.monotonic() > end:
                cure = "end it, or choose another folder"
                raise DataError(f"{folder}: another process has been writing a checkpoint there for long: {cure}")
            time.sleep(0.01)
        try:
            yield
        finally:
            with suppress(OSError):
                # Not left to the end of the handle: a process that was forked meanwhile has one, too.
                fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    """Try to get the lock."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems refuse all locks
        return True
    return True
