"""One process at a time in the folder of a run."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from applications.nas.files import explained
from applications.nas.lock import locked
from mlo import ConfigError

LOCK = ".lock"
"""File of a run's folder that is locked while a process writes there; it names that process."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into a folder; the system lets go of it however this one ends.

    Args:
        folder: It exists.

    Raises:
        ConfigError: If another process is at work there; the message says which.
        DataError: If nothing can be written there.
    """
    file = folder / LOCK
    with ExitStack() as stack:
        with explained(folder):
            file.touch()
            free = stack.enter_context(locked(file))
        if not free:
            raise ConfigError(
                f"{folder}: another process works there{_holder(file)}: wait for its end, or name another folder"
            )
        with explained(folder):
            file.write_text(f"process {os.getpid()} of {socket.gethostname()}\n", encoding="utf-8")
        try:
            yield
        finally:
            with suppress(OSError):
                file.unlink()


def _holder(file: Path) -> str:
    """Return what the other process has written of itself; nothing if it has just begun, or ended."""
    with suppress(OSError):
        told = file.read_text(encoding="utf-8", errors="replace").strip()
        return f" ({told[:100]})" if told else ""
    return ""
