"""Points that another sweep has finished with the same settings: they are copied, not computed again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from applications.nas.run_folder import CONFIG, write_text
from applications.nas.sweep.folder import SWEEP
from applications.nas.sweep.plan import Point
from applications.nas.sweep.point import RETRAIN, check_unchanged, finished
from mlo import ConfigError

TAKEN = "taken-from.txt"
"""Says in the folder of a copied point where it was run."""
_PART = ".copy-"
_LEFT_BEHIND = shutil.ignore_patterns(".lock", "checkpoint.pt", "checkpoints")


def take_finished(missing: Sequence[Point], folder: Path, others: Sequence[Path]) -> dict[str, Path]:
    """Copy the points that other sweeps have finished with the same settings into the folder of a sweep.

    Random cells are not looked for: their folders do not hold all that made them.

    Args:
        missing: The points that are not finished.
        folder: Of the sweep.
        others: Folders of other sweeps.

    Returns:
        Where each copied point came from, by its name.

    Raises:
        ConfigError: If one of the others is the folder of no sweep.
    """
    known = [place for other in others for place in _places(other)]
    taken = {}
    for point in missing:
        target = folder / point.name
        source = next((place for place in known if _same(place, point)), None)
        if source is None or target.exists():
            continue
        _copy(source, target)
        taken[point.name] = source
    return taken


def _copy(source: Path, target: Path) -> None:
    """Copy a finished point; it has its name only when it is whole."""
    part = target.with_name(f"{_PART}{target.name}")
    shutil.rmtree(part, ignore_errors=True)  # of a program that was killed
    try:
        shutil.copytree(source, part, ignore=_LEFT_BEHIND)
        write_text(part / TAKEN, f"{source}\n")
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _places(other: Path) -> Iterator[Path]:
    if not (other / SWEEP).is_file():
        raise ConfigError(f"--reuse {other}: there is no {SWEEP} in it: give the folder of a sweep or a study")
    yield from sorted(place.parent for place in other.glob(f"*/{CONFIG}"))


def _same(place: Path, point: Point) -> bool:
    """Say whether a folder holds a point with these settings, finished."""
    if point.cell is not None or not finished(place, point):
        return False
    if point.retrain is not None and not (place / RETRAIN / CONFIG).is_file():
        return False
    try:
        check_unchanged(place, point)
    except ConfigError:
        return False
    return True
