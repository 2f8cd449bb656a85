"""What a study would run, in words; nothing is run, and nothing written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from applications.nas.sweep.plan import Point
from applications.nas.sweep.point import finished
from applications.nas.sweep.study import StudySettings, swept_points


def describe_study(settings: StudySettings, folder: Path, launching: str) -> str:
    """Return the parts of a study, its points in their order, and which of them are missing.

    Args:
        settings: The study.
        folder: Its folder, which need not exist.
        launching: What runs the points, in words.
    """
    plan = swept_points(settings)
    done = {point.name for point in plan if finished(folder / point.name, point)}
    times = len(settings.retrain.seeds)
    lines = [
        f"Dry run of the study {settings.name}, scale {settings.scale}. Nothing has been launched and nothing written.",
        settings.about,
        f"folder: {folder}{'' if folder.exists() else ' (new)'}",
        f"{len(plan)} points, of which {len(done)} are finished; each is a search or a random cell, trained {times} "
        f"time{'' if times == 1 else 's'} on each task",
        *_parts(plan, done),
        "in this order:",
        *(f"  {point.name}{' (finished)' if point.name in done else ''}" for point in plan),
        f"launched: {launching}",
    ]
    return "\n".join(lines) + "\n"


def _parts(plan: Sequence[Point], done: set[str]) -> Iterator[str]:
    for part in dict.fromkeys(point.part for point in plan):
        members = [point.name for point in plan if point.part == part]
        yield f"  {part}: {len(members)} points, {len(done.intersection(members))} finished"
