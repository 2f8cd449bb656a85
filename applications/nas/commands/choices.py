"""Choices among kinds of settings, such as data:cifar, which may stand anywhere behind the preset."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Iterator
from typing import Any


def choices(kind: Any, prefix: str = "") -> Iterator[dict[str, type]]:
    """List the choices that a class of settings leaves.

    Args:
        kind: A dataclass.
        prefix: What tyro puts before the names of its fields.

    Yields:
        For each field that is a union of dataclasses, in order: its words, each with the class that it stands for.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        inner, marks = _plain(hints[field.name])
        named = [mark.name for mark in marks if isinstance(getattr(mark, "name", None), str)]
        place = ".".join(part for part in (prefix, named[0] if named else field.name) if part)
        if dataclasses.is_dataclass(inner):
            yield from choices(inner, place)
        elif typing.get_origin(inner) in (typing.Union, types.UnionType):
            words = dict(_word(member, place) for member in typing.get_args(inner) if _plain(member)[1])
            if words:
                yield words


def choices_first(kind: Any, words: list[str]) -> list[str]:
    """Put the choices before all options, so that an option never chooses by itself; show them if help is wanted."""
    known = list(choices(kind))
    every = {word for group in known for word in group}
    if {"-h", "--help"}.intersection(words) and known:
        sys.stdout.write("Choices, anywhere behind the preset:\n")
        sys.stdout.writelines(f"  {' | '.join(group)}\n" for group in known)
        sys.stdout.write("\n")
    named = [word for group in known for word in [word for word in words if word in group][-1:]]
    return named + [word for word in words if word not in every]


def _plain(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type without its marks, and the marks."""
    if typing.get_origin(kind) is typing.Annotated:
        return typing.get_args(kind)[0], typing.get_args(kind)[1:]
    return kind, ()


def _word(member: Any, place: str) -> tuple[str, type]:
    inner, (mark, *_) = _plain(member)
    return (f"{place}:{mark.name}" if mark.prefix_name and place else mark.name), inner
