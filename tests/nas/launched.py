"""What tests let jobs do; imported by the jobs themselves, so it is small."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from applications.nas.jobs import Reporter


def note(folder: Path, name: str, reporter: Reporter) -> None:
    """Leave a line for each run, with progress."""
    reporter.begin("search")(1, 2, "half")
    with (folder / name).open("a") as file:
        file.write(f"{os.getpid()}\n")
    reporter(1, 1, "done")


class OddError(Exception):
    """An error that cannot be made again from what it holds."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one}\nand {two}")


def odd(reporter: Reporter) -> None:
    raise OddError("this", "that")


def killed(reporter: Reporter) -> None:
    print("allocating", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def slow_at_first(folder: Path, name: str, reporter: Reporter) -> None:
    """Take for ever, but for the second run."""
    with (folder / name).open("a") as file:
        file.write(f"{os.getpid()}\n")
    if len((folder / name).read_text().splitlines()) == 1:
        time.sleep(120)


def wait_for(folder: Path, name: str, reporter: Reporter) -> None:
    """Leave a line, and run until a file is there."""
    note(folder, name, reporter)
    end = time.monotonic() + 90
    while not (folder / "go").exists() and time.monotonic() < end:
        time.sleep(0.05)
