"""Options that a study does not take: what it varies or sets itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from applications.nas.presets.scales import Scale
from applications.nas.sweep.studies import STUDIES
from mlo import ConfigError


def check_options(name: str, words: Sequence[str], given: Scale, scale: Scale) -> None:
    """Refuse options that no search of a study would follow, or not all that could; read from the study's parts.

    Args:
        name: The study.
        words: Of the command line.
        given: The scale that the words make.
        scale: The scale that they change.

    Raises:
        ConfigError: The message names the option.
    """
    asked = _named(words) | set(_unlike(given.search, scale.search))
    held = _held(name, scale) | _held(name, given)
    for field in sorted(asked & held.keys()):
        own = f"mlo-nas sweep PRESET --vary {field}"
        raise ConfigError(f"sweep: --{field} is {held[field]}: leave it out, or make a sweep of your own: {own}")


def _held(name: str, scale: Scale) -> dict[str, str]:
    """Return the fields of a search that a study varies or sets at a scale, and which of both it does, in words.

    What it sets is where a part differs from the scale. Methods with settings of their own, which the scale holds
    elsewhere, are left out.
    """
    parts = STUDIES[name].parts(scale)
    found = {axis.field: f"varied by the study {name}" for part in parts for axis in part.axes}
    for part in parts:
        if part.search.method == scale.search.method:
            for field in _unlike(part.search, scale.search):
                found.setdefault(field, f"set by the study {name} for its parts")
    return found


def _named(words: Sequence[str]) -> set[str]:
    """Return the fields that options name, also those that are given the value they have."""
    return {word.partition("=")[0][2:].replace("-", "_") for word in words if word.startswith("--")}


def _unlike(one: Any, other: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted paths of the fields that two settings of a kind have, with other values."""
    for field in dataclasses.fields(one):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if dataclasses.is_dataclass(mine) and type(mine) is type(theirs):
            yield from _unlike(mine, theirs, f"{prefix}{field.name}.")
        elif mine != theirs and not dataclasses.is_dataclass(mine):
            yield f"{prefix}{field.name}"
