"""What a sweep runs: all combinations of values of some fields."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from applications.nas.config_fields import get_field, with_fields
from applications.nas.search import complete
from applications.nas.settings import RetrainSettings, SearchSettings
from mlo import ConfigError

SEED = "seed"
"""The field whose values are repetitions, not settings to compare."""
_LONGEST = 120


@dataclass(frozen=True)
class Axis:
    """A field and its values, as words of a command line.

    Attributes:
        field: Dotted path of a setting of the search, as in `config.json`.
        values: What it takes, in the order in which they are searched.
    """

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class SweepSettings:
    """All of a sweep that decides about its results."""

    search: SearchSettings
    """What is not varied."""
    axes: tuple[Axis, ...]
    """What is varied; the first changes slowest."""
    retrain: RetrainSettings | None = None
    """How each found cell is trained from scratch; None: not at all."""


@dataclass(frozen=True)
class Point:
    """One combination of values.

    Attributes:
        name: Its folder.
        words: The value of each varied field, as it was given.
        settings: Its search; of a random cell, what a search would have: data, seed and space.
        retrain: How its cell is trained from scratch; None: not at all.
        part: The part of a study to which it belongs; empty in a sweep.
        cell: The seed of a random cell, which takes the place of a search; None: there is a search.
    """

    name: str
    words: Mapping[str, str]
    settings: SearchSettings
    retrain: RetrainSettings | None = None
    part: str = ""
    cell: int | None = None

    def value(self, field: str) -> float | str:
        """Return the value of a field: a number if it is one, else as it was given."""
        value = get_field(self.settings, field)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else self.words[field]


def points(settings: SweepSettings) -> tuple[Point, ...]:
    """Return all combinations, checked.

    Raises:
        ConfigError: If a field or a value does not fit, or two combinations are the same; the message names it.
    """
    if not settings.axes:
        raise ConfigError("sweep: nothing is varied: give --vary FIELD VALUE ...")
    check_axes(settings.axes)
    found: list[Point] = []
    for point in combinations(settings.search, settings.axes):
        add(found, replace(point, retrain=settings.retrain))
    return tuple(found)


def combinations(search: SearchSettings, axes: Sequence[Axis]) -> Iterator[Point]:
    """Yield all combinations of the values of some fields, the first changing slowest.

    Raises:
        ConfigError: If a field or a value does not fit.
    """
    labels = _labels([axis.field for axis in axes])
    for values in itertools.product(*(axis.values for axis in axes)):
        words = {axis.field: word for axis, word in zip(axes, values, strict=True)}
        one = complete(with_fields(search, words))
        _check_alone(one)
        yield Point(",".join(f"{labels[field]}={word}" for field, word in words.items()), words, one)


def add(found: list[Point], point: Point) -> None:
    """Add a point to a list under a name that no other has.

    Raises:
        ConfigError: If it is in the list already.
    """
    for other in found:
        if other.settings == point.settings and other.cell == point.cell:
            told = ", ".join(f"{field} {word}" for field, word in point.words.items())
            raise ConfigError(f"sweep: {told} is the same search as {other.name}: give each value once")
    found.append(replace(point, name=_folder_name(point.name, {other.name for other in found})))


def _check_alone(search: SearchSettings) -> None:
    if search.parallel.stages > 1:
        cure = "leave parallel.stages at 1, or start such a search by itself, by torchrun"
        raise ConfigError(f"sweep: a point is one process, and {search.parallel.stages} ranks share its stages: {cure}")


def axes_without_seed(settings: SweepSettings) -> tuple[Axis, ...]:
    """Return the axes whose values are compared."""
    return tuple(axis for axis in settings.axes if axis.field != SEED)


def check_axes(axes: Sequence[Axis]) -> None:
    """Refuse fields that are varied twice or not at all."""
    fields = [axis.field for axis in axes]
    for axis in axes:
        if not axis.values:
            raise ConfigError(f"sweep: --vary {axis.field} has no value: give one or more behind it")
        if fields.count(axis.field) > 1:
            raise ConfigError(f"sweep: {axis.field} is varied twice: name it once with all its values")


def _labels(fields: Sequence[str]) -> dict[str, str]:
    """Return short names: the last part of a path where that is unique."""
    last = [field.rpartition(".")[2] for field in fields]
    return {field: short if last.count(short) == 1 else field for field, short in zip(fields, last, strict=True)}


def _folder_name(name: str, taken: set[str]) -> str:
    """Return a name that any file system takes, and that no other point has."""
    plain = re.sub(r"[^A-Za-z0-9._+=,-]+", "-", name).strip(".")[:_LONGEST]
    folded = {one.lower() for one in taken}
    number, unique = 2, plain
    while unique.lower() in folded:
        number, unique = number + 1, f"{plain}-{number}"
    return unique
