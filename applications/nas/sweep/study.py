"""A study: several sweeps that answer one question together, over the same seeds, with random cells beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from applications.nas.search import complete
from applications.nas.settings import RetrainSettings, SearchSettings
from applications.nas.settings._check import check
from applications.nas.sweep.plan import SEED, Axis, Point, SweepSettings, add, check_axes, combinations, points
from applications.nas.typed import check_types
from mlo import ConfigError

RANDOM = "random"
"""What random cells are called, here and in reports."""
_APART = 1000


@dataclass(frozen=True)
class Part:
    """A sweep within a study; the seeds are those of the study."""

    name: str
    """Such as "DARTS-1st single"."""
    search: SearchSettings
    """What is not varied."""
    axes: tuple[Axis, ...] = ()
    """What is varied; the first changes slowest."""
    reference: str = ""
    """The part whose first cells those of this one are compared with; left out: its own."""


@dataclass(frozen=True)
class StudySettings:
    """All of a study that decides about its results."""

    name: str
    """Such as "evidence-table"."""
    scale: str
    """Such as "cpu"."""
    about: str
    """The question, in a sentence."""
    parts: tuple[Part, ...]
    """The sweeps; each is run with every seed."""
    seeds: tuple[int, ...]
    """Of the searches. The first seed is finished in all parts before the next begins."""
    retrain: RetrainSettings
    """How each cell is trained from scratch. To its seeds, 1000 times the seed of the search is added, or the number of
    the random cell, so that no two cells of a method are trained with the same one."""
    random: int = 0
    """Random cells for each seed; they are trained as the others."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_types("study", self)
        check("study", self, 0 < len(self.seeds) == len(set(self.seeds)), "seeds must be distinct, at least one")
        check("study", self, 0 <= self.random <= _APART, f"random must be from 0 to {_APART}")
        fits = all(0 <= seed < _APART for seed in self.retrain.seeds)
        check("retrain", self.retrain, fits, f"seeds must be below {_APART} in a study, which adds to them")


Swept = SweepSettings | StudySettings
"""What has points."""


def swept_points(settings: Swept) -> tuple[Point, ...]:
    """Return the points of a sweep, or of a study: those of its first seed, then those of the next.

    Raises:
        ConfigError: If a field or a value does not fit, or two points are the same; the message names it.
    """
    if isinstance(settings, SweepSettings):
        return points(settings)
    names = [part.name for part in settings.parts]
    if len(set(names)) < len(names) or RANDOM in names or not names:
        raise ConfigError(f"study: parts are called {', '.join(names)}: give each a name of its own, not {RANDOM}")
    for part in settings.parts:
        if part.reference not in ("", *names):
            raise ConfigError(f"study: {part.name} refers to {part.reference}, which is no part: name one of them")
    found: list[Point] = []
    for seed in settings.seeds:
        for part in settings.parts:
            for point in _points_of(part, seed):
                add(found, replace(point, retrain=_retrain(settings, seed)))
        for point in _random_cells(settings, seed):
            add(found, point)
    return tuple(found)


def _points_of(part: Part, seed: int) -> Iterator[Point]:
    check_axes(part.axes)
    if SEED in {axis.field for axis in part.axes}:
        raise ConfigError(f"study: {part.name} varies the seed: give it by --seeds, for all parts")
    for point in combinations(part.search, (*part.axes, Axis(SEED, (str(seed),)))):
        yield replace(point, name=f"{stem_of(part.name)},{point.name}", part=part.name)


def stem_of(part: str) -> str:
    """Return the name of a part as that of a file."""
    return re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-")


def _random_cells(settings: StudySettings, seed: int) -> Iterator[Point]:
    """Yield the random cells that go with a seed; each has a number of its own, from which all is drawn."""
    for index in range(settings.random):
        number = seed * settings.random + index
        source = complete(replace(settings.parts[0].search, seed=number))
        retrain = _retrain(settings, number)
        yield Point(f"{RANDOM}-{number}", {SEED: str(number)}, source, retrain, RANDOM, number)


def _retrain(settings: StudySettings, seed: int) -> RetrainSettings:
    return replace(settings.retrain, seeds=tuple(_APART * seed + one for one in settings.retrain.seeds))
