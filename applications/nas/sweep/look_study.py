"""What a study would run, in words; nothing is run, and nothing written."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from applications.nas.search.words import show_seconds
from applications.nas.sweep.plan import Point
from applications.nas.sweep.point import finished
from applications.nas.sweep.raw import seconds_of
from applications.nas.sweep.study import StudySettings, swept_points


def describe_study(settings: StudySettings, folder: Path, launching: str) -> str:
    """Return the parts of a study, its points in their order, which of them are missing, and what these will take.

    Args:
        settings: The study.
        folder: Its folder, which need not exist.
        launching: What runs the points, in words.

    Raises:
        DataError: If a file of a finished point is broken; the message names it.
    """
    plan = swept_points(settings)
    took = {point.name: seconds_of(folder / point.name) for point in plan if finished(folder / point.name, point)}
    times = len(settings.retrain.seeds)
    lines = [
        f"Dry run of the study {settings.name}, scale {settings.scale}. Nothing has been launched and nothing written.",
        settings.about,
        f"folder: {folder}{'' if folder.exists() else ' (new)'}",
        f"{len(plan)} points, of which {len(took)} are finished; each is a search or a random cell, trained {times} "
        f"time{'' if times == 1 else 's'} on each task",
        *_parts(plan, took),
        "in this order:",
        *(f"  {point.name}{' (finished)' if point.name in took else ''}" for point in plan),
        f"launched: {launching}",
    ]
    return "\n".join(lines) + "\n"


def _parts(plan: Sequence[Point], took: Mapping[str, float]) -> Iterator[str]:
    """Tell how far each part is, and what is left of it if a point of it takes as long as those that are finished."""
    whole, unknown = 0.0, 0
    for part in dict.fromkeys(point.part for point in plan):
        members = [point.name for point in plan if point.part == part]
        known = [took[name] for name in members if name in took]
        missing = len(members) - len(known)
        told = f"; {show_seconds(statistics.fmean(known))} each" if known else ""
        yield f"  {part}: {len(members)} points, {len(known)} finished{told}"
        whole += missing * statistics.fmean(known) if known else 0.0
        unknown += 0 if known else missing
    more = f", and what {unknown} points take of whose part none has finished yet" if unknown else ""
    if took and len(took) < len(plan):
        yield f"left: about {show_seconds(whole)} of one worker{more}, if nothing else needs its processor"
