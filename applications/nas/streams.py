"""Standard streams that are closed, or that nobody reads any more: no run ends for that."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

from rich.console import Console


class LastingConsole(Console):
    """A console that is silent once nobody reads it, as when Ctrl-C ends the `tee` behind a search, too."""

    def on_broken_pipe(self) -> None:
        """Go on."""
        self.quiet = True
        hush()


def open_streams() -> None:
    """Let standard streams that are closed lead nowhere; a program calls this before it opens any file.

    Else the next file that is opened has the number of the error stream, and what is told is written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
    sys.stdout = sys.stdout or _writer(1)
    sys.stderr = sys.stderr or _writer(2)


def hush() -> None:
    """Let what is still written to the output go nowhere, once nobody reads it any more."""
    _lead_nowhere(sys.stdout)


def tell(text: str) -> None:
    """Write to the error stream, if somebody reads it."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _lead_nowhere(sys.stderr)


def _writer(number: int) -> TextIO:
    return os.fdopen(number, "w", encoding="utf-8", closefd=False)


def _lead_nowhere(stream: TextIO) -> None:
    """Let what is left of a stream go nowhere, or Python's own flush at the end changes the exit code."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
