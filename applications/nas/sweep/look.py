"""What a sweep would run, in words; nothing is run, and nothing written."""

from __future__ import annotations

from pathlib import Path

from applications.nas.sweep.plan import SweepSettings, points
from applications.nas.sweep.point import finished

_SHOWN = 20


def describe(settings: SweepSettings, folder: Path, launching: str, cost: str) -> str:
    """Return which points a sweep has, what is missing of them, and how that would be run.

    Args:
        settings: The sweep.
        folder: Its folder, which need not exist.
        launching: What runs the points, in words.
        cost: The command that tells what a point costs.
    """
    plan = points(settings)
    missing = [point.name for point in plan if not finished(folder / point.name, point)]
    trained = ""
    if settings.retrain is not None:
        trained = f", whose cell is trained {len(settings.retrain.seeds)} times on each task"
    lines = [
        "Dry run of a sweep. Nothing has been launched and nothing written.",
        f"folder: {folder}{'' if folder.exists() else ' (new)'}",
        f"{len(plan)} points, of which {len(plan) - len(missing)} are finished; each is a search{trained}",
        *(f"  {name}" for name in missing[:_SHOWN]),
        *([f"  and {len(missing) - _SHOWN} more"] if len(missing) > _SHOWN else []),
        f"launched: {launching}",
        f"what a search costs: {cost}",
    ]
    return "\n".join(lines) + "\n"
