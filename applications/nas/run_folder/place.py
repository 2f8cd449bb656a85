"""The folder of a run that can go on: a new one, or that of the same job before torchrun started it again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from applications.nas import launch
from applications.nas.launch import Ranks
from applications.nas.run_folder.folder import RESULTS, new_folder
from mlo import ConfigError

UNFINISHED = "unfinished.json"
"""File of the folder of a run that has not finished; it has the name of the job of torchrun, if there is one."""


@contextmanager
def place(out: Path | None, parent: Path, stem: str, command: str, ranks: Ranks) -> Iterator[tuple[Path, bool]]:
    """Find or make the folder of a run; the first rank does, and tells the others.

    Args:
        out: The folder that the user named, or None for the first free PARENT/STEM-N.
        parent: Where to make it if none is named.
        stem: What to call it then.
        command: "search" or "retrain".
        ranks: All of them must call this.

    Yields:
        The folder, and whether this job has begun there already.

    Raises:
        ConfigError: If the named folder holds something else, or cannot be made.
    """
    if not ranks.first:
        yield ranks.from_first((Path(), False))
        return
    before = _of_this_job(out, parent, stem)
    if before is not None:
        yield ranks.from_first((before, True))
        return
    if out is not None and (out / UNFINISHED).is_file():
        fix = f"go on with it by `mlo-nas {command} --resume {out}`, or name another with --out"
        raise ConfigError(f"{out} holds a {command} that has not finished: {fix}")
    with new_folder(out, parent, stem) as folder:
        yield ranks.from_first((folder, False))


def is_finished(folder: Path) -> bool:
    """Return whether a folder is that of a run that came to its end."""
    return (folder / RESULTS).is_file() and not (folder / UNFINISHED).is_file()


def job_of(folder: Path) -> str | None:
    """Return the name of the torchrun job that a folder is of; None if of none."""
    for file in (folder / UNFINISHED, folder / RESULTS):
        with suppress(OSError, ValueError, AttributeError, RecursionError):  # a folder of something else
            name = json.loads(file.read_text(encoding="utf-8")).get("torchrun")
            return name if isinstance(name, str) else None
    return None


def _of_this_job(out: Path | None, parent: Path, stem: str) -> Path | None:
    """Return the folder in which this job has begun; the last, since jobs without a name share one."""
    if not launch.goes_on():
        return None
    known = [out] if out is not None else list(parent.glob(f"{stem}-*"))
    mine = [folder for folder in known if job_of(folder) == launch.job_name()]
    if not launch.restarted():  # a name may be used again once its job has finished
        mine = [folder for folder in mine if not is_finished(folder)]
    return max(mine, key=_touched, default=None)


def _touched(folder: Path) -> float:
    marks = (folder / UNFINISHED, folder / RESULTS)
    return max((mark.stat().st_mtime for mark in marks if mark.is_file()), default=0.0)
