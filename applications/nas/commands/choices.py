"""Choices among kinds of settings, such as data:cifar, which may stand anywhere behind the preset."""

from __future__ import annotations

import dataclasses
import functools
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from applications.nas.config_fields import mark_name, members, unmarked
from mlo import ConfigError


@dataclass(frozen=True)
class Choice:
    """A field whose value is one of several kinds of settings.

    Attributes:
        path: Names of the fields that lead to it.
        words: What the command line calls the kinds.
    """

    path: tuple[str, ...]
    words: dict[str, type]

    def words_of(self, settings: Any) -> list[str]:
        """Return the word for the kind that settings have here; none if they have none."""
        value = functools.reduce(getattr, self.path, settings)
        return [word for word, kind in self.words.items() if kind is type(value)]


def choices(kind: Any, prefix: str = "", path: tuple[str, ...] = ()) -> Iterator[Choice]:
    """List the choices that a class of settings leaves, in order.

    Args:
        kind: A dataclass.
        prefix: What tyro puts before the names of its fields.
        path: Names of the fields that lead to it.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        inner, marks = unmarked(hints[field.name])
        name = mark_name(marks)
        place = ".".join(part for part in (prefix, field.name if name is None else name) if part)
        here = (*path, field.name)
        if members(inner):
            words = dict(_word(member, place) for member in members(inner) if unmarked(member)[1])
            if words:
                yield Choice(here, words)
        elif dataclasses.is_dataclass(inner):
            yield from choices(inner, place, here)


def choices_first(default: Any, words: list[str]) -> list[str]:
    """Put the choices before all options, and name those that the user leaves as they are.

    So options may stand anywhere, an option never chooses by itself, and those of a choice are there without naming it.

    Args:
        default: The settings that the words override.
        words: Of the command line.
    """
    known = list(choices(type(default)))
    every = {word for choice in known for word in choice.words}
    if {"-h", "--help"}.intersection(words) and known:
        sys.stdout.write(
            "Choices, which may stand anywhere among the options; the options below are those of the choices made:\n"
        )
        sys.stdout.writelines(f"  {' | '.join(choice.words)}\n" for choice in known)
        sys.stdout.write("\n")
    for word in words:
        _check_choice(word, known)
    given = [choice.words_of(default) + [word for word in words if word in choice.words] for choice in known]
    named = [found[-1] for found in given if found]
    return named + [word for word in words if word not in every]


def _check_choice(word: str, known: list[Choice]) -> None:
    """Refuse a word such as method:nope, and name what there is."""
    place, colon, _ = word.partition(":")
    for choice in known:
        if colon and word not in choice.words and any(other.startswith(f"{place}:") for other in choice.words):
            raise ConfigError(f"{word}: there is no such choice; there are {', '.join(choice.words)}")


def _word(member: Any, place: str) -> tuple[str, type]:
    inner, (mark, *_) = unmarked(member)
    return (f"{place}:{mark.name}" if mark.prefix_name and place else mark.name), inner
