"""Points that another sweep has finished with the same settings: they are copied, not computed again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from applications.nas.run_folder import CONFIG, ENVIRONMENT, FAILURE, write_text
from applications.nas.run_folder.place import UNFINISHED
from applications.nas.sweep.folder import SWEEP
from applications.nas.sweep.plan import Point
from applications.nas.sweep.point import RETRAIN, check_unchanged, finished
from mlo import ConfigError

TAKEN = "taken-from.txt"
"""Says in the folder of a copied point where it was run."""
_PART = ".copy-"
_HEAVY = (".lock", "checkpoint.pt", "checkpoints")


def find_finished(missing: Sequence[Point], folder: Path, others: Sequence[Path]) -> dict[str, Path]:
    """Return where other sweeps have finished points with the same settings, by the names that the points have here.

    Random cells are not looked for: their folders do not hold all that made them. Nor are points that have begun here,
    which go on where they are.

    Args:
        missing: The points that are not finished.
        folder: Of the sweep.
        others: Folders of other sweeps.

    Raises:
        ConfigError: If one of the others is the folder of no sweep.
    """
    for other in others:
        if not (other / SWEEP).is_file():
            raise ConfigError(f"--reuse {other}: there is no {SWEEP} in it: give the folder of a sweep or a study")
    known = [file.parent for other in others for file in sorted(other.glob(f"[!.]*/{CONFIG}"))]
    found = {}
    for point in missing:
        source = next((place for place in known if _same(place, point)), None)
        if source is not None and not (folder / point.name).exists():
            found[point.name] = source
    return found


def take(found: Mapping[str, Path], folder: Path, *, retrained: bool) -> None:
    """Copy points into the folder of a sweep; each has its name there only when it is whole.

    Args:
        found: Where each is.
        folder: Of the sweep.
        retrained: Whether the sweep has retrainings.
    """
    left_behind = _HEAVY if retrained else (*_HEAVY, RETRAIN)
    for name, source in found.items():
        part = folder / f"{_PART}{name}"
        shutil.rmtree(part, ignore_errors=True)  # of a program that was killed
        try:
            shutil.copytree(source, part, ignore=shutil.ignore_patterns(*left_behind))
            write_text(part / TAKEN, f"{source}\n")
            part.rename(folder / name)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def ran_by(place: Path) -> str:
    """Return which code a point was run by, in words."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        about = json.loads((place / ENVIRONMENT).read_text(encoding="utf-8"))
        return f"commit {about['commit']}, torch {about['torch']}"
    return "unknown code"


def _same(place: Path, point: Point) -> bool:
    """Say whether a folder holds a point with these settings, finished, and nothing is written there any more."""
    if point.cell is not None or not finished(place, point):
        return False
    parts = [place] if point.retrain is None else [place, place / RETRAIN]
    if any((part / UNFINISHED).exists() or not (part / CONFIG).is_file() for part in parts):
        return False
    if (place / FAILURE).exists():
        return False
    try:
        check_unchanged(place, point)
    except (ConfigError, UnicodeDecodeError):
        return False
    return True
