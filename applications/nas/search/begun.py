"""The folder of a search that has begun: whether it can go on, and whether it is as it was."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlo
from applications.nas.files import read_object, tidy, write_json
from applications.nas.launch import job_name
from applications.nas.run_folder import CONFIG, ENVIRONMENT, FAILURE, METRICS, SPLITS, environment
from applications.nas.run_folder.place import UNFINISHED, is_finished
from applications.nas.search.checkpoint import CHECKPOINTS
from mlo import DataError

log = logging.getLogger("mlo.nas")

_FILES = (CONFIG, SPLITS)
_DECIDE = ("torch", "torchopt", "torchvision", "numpy", "mlo-torch", "machine", "cpu", "threads", "gpu", "cuda")
"""What in the environment of a run decides how its numbers are rounded."""


def mark_begun(folder: Path) -> None:
    """Say in a folder that its search has not finished."""
    write_json(folder / UNFINISHED, {"kind": "search", "torchrun": job_name()})


def mark_finished(folder: Path) -> None:
    """Say that it has."""
    (folder / UNFINISHED).unlink(missing_ok=True)


def take_up(folder: Path, steps: int) -> None:
    """Clear a folder of what a search has left that was killed or failed, and write down that it goes on.

    Args:
        folder: Of the search.
        steps: How many it has made.
    """
    tidy(folder)
    (folder / FAILURE).unlink(missing_ok=True)
    _note_resumed(folder, steps)


def can_resume(folder: Path) -> bool:
    """Return whether a folder is that of a search that was stopped, and can go on."""
    return (folder / CONFIG).is_file() and not is_finished(folder) and (has_checkpoint(folder) or not has_run(folder))


def has_checkpoint(folder: Path) -> bool:
    """Return whether there is a checkpoint, whole or damaged."""
    return bool(mlo.Checkpoints(folder / CHECKPOINTS).numbers())


def has_run(folder: Path) -> bool:
    """Return whether a search has made a step; its first checkpoint comes before."""
    file = folder / METRICS
    return file.is_file() and len(file.read_bytes().splitlines()) > 1


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the files that a search goes by, for its checkpoints."""
    return {name: _digest(folder / name) for name in _FILES}


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def check_unchanged(folder: Path, record: Mapping[str, Any]) -> None:
    """Compare the files that a search goes by with what they were.

    Args:
        folder: Of the search.
        record: What the checkpoint knows of it.

    Raises:
        DataError: If one is missing, or is not what it was.
    """
    for name, digest in record["files"].items():
        file = folder / name
        if not file.is_file() or _digest(file) != digest:
            what = "is not what it was when the search began" if file.is_file() else "is missing"
            raise DataError(f"{file} {what}: put it back, or search anew, `mlo-nas search --config {folder} --out NEW`")


def _note_resumed(folder: Path, steps: int) -> None:
    """Write into the environment of a run that it went on after so many steps, and what is different since."""
    file = folder / ENVIRONMENT
    now: dict[str, Any] = dict(environment())
    found = read_object(file, "remove it, and resume again") if file.is_file() else now
    changed = {name: value for name, value in now.items() if name != "started" and found.get(name) != value}
    _warn_of_rounding({name: (found.get(name), value) for name, value in changed.items() if name in _DECIDE})
    when = datetime.now(UTC).isoformat(timespec="seconds")
    entry = {"after step": steps, "at": when, **changed}
    write_json(file, {**found, "resumed": [*found.get("resumed", []), entry]})


def _warn_of_rounding(changed: Mapping[str, tuple[Any, Any]]) -> None:
    if changed:
        told = ", ".join(f"{name} was {before} and is {now}" for name, (before, now) in changed.items())
        log.warning("%s: the search goes on, but not with the same rounding as one that was not stopped", told)
