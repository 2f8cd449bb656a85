"""The folder of a retraining: a new one, or that of the same job before torchrun started it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from applications.nas import launch
from applications.nas.launch import Ranks
from applications.nas.retrain.ledger import UNFINISHED, is_finished, job_of
from applications.nas.run_folder import RESULTS, new_folder
from mlo import ConfigError

STEM = "retrain"


@contextmanager
def place(out: Path | None, parent: Path, ranks: Ranks) -> Iterator[tuple[Path, bool]]:
    """Find or make the folder of a retraining; the first rank does, and tells the others.

    Args:
        out: The folder that the user named, or None for the first free PARENT/retrain-N.
        parent: Where to make it if none is named.
        ranks: All of them must call this.

    Yields:
        The folder, and whether this job has begun there already.

    Raises:
        ConfigError: If the named folder holds something else, or cannot be made.
    """
    if not ranks.first:
        yield ranks.from_first((Path(), False))
        return
    before = _of_this_job(out, parent)
    if before is not None:
        yield ranks.from_first((before, True))
        return
    if out is not None and (out / UNFINISHED).is_file():
        fix = f"go on with it by `mlo-nas retrain --resume {out}`, or name another with --out"
        raise ConfigError(f"{out} holds a retraining that has not finished: {fix}")
    with new_folder(out, parent, STEM) as folder:
        yield ranks.from_first((folder, False))


def _of_this_job(out: Path | None, parent: Path) -> Path | None:
    """Return the folder in which this job has begun; the last, since jobs without a name share one."""
    if not launch.goes_on():
        return None
    known = [out] if out is not None else list(parent.glob(f"{STEM}-*"))
    mine = [folder for folder in known if job_of(folder) == launch.job_name()]
    if not launch.restarted():  # a name may be used again once its job has finished
        mine = [folder for folder in mine if not is_finished(folder)]
    return max(mine, key=_touched, default=None)


def _touched(folder: Path) -> float:
    marks = (folder / UNFINISHED, folder / RESULTS)
    return max((mark.stat().st_mtime for mark in marks if mark.is_file()), default=0.0)
