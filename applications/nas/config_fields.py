"""Single fields of settings, by dotted paths such as "formulation.weight", read from words."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from applications.nas.config_file import from_json, to_json
from mlo import ConfigError

S = TypeVar("S")


def with_fields(settings: S, words: Mapping[str, str]) -> S:
    """Return settings in which fields have other values.

    Args:
        settings: A frozen dataclass, nested.
        words: A value for each dotted path: a number, a text, true or false, the name of a choice as on the command
            line ("single"), or the members of a list with commas between them ("100,10").

    Raises:
        ConfigError: If there is no such field, or the value does not belong there; the message names the path.
    """
    plain = json.loads(to_json(settings))
    for path in sorted(words, key=lambda path: path.count(".")):  # a choice before what depends on it
        _put(type(settings), plain, path, words[path])
    return from_json(type(settings), json.dumps(plain), ", ".join(f"{path} {word}" for path, word in words.items()))


def get_field(settings: Any, path: str) -> Any:
    """Return the value at a dotted path that is known to exist."""
    for part in path.split("."):
        settings = getattr(settings, part)
    return settings


def kinds_by_name(hint: Any) -> dict[str, type[Any]]:
    """Return the classes that a field chooses among, by their names on the command line; none if it is no choice."""
    found = {}
    for kind, marks in map(unmarked, members(hint)):
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            found[mark_name(marks) or kind.__name__] = kind
    return found


def mark_name(marks: Iterable[Any]) -> str | None:
    """Return the name that marks of a type give on the command line, which may be empty; None if they give none."""
    return next((mark.name for mark in marks if isinstance(getattr(mark, "name", None), str)), None)


def unmarked(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return a type without its marks, and the marks; of a type that is made when asked for, what is made."""
    if typing.get_origin(hint) is not typing.Annotated:
        return hint, ()
    inner, *marks = typing.get_args(hint)
    made = [mark.constructor_factory for mark in marks if getattr(mark, "constructor_factory", None) is not None]
    return (made[0]() if made else inner), tuple(marks)


def members(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union, with their marks; none of what is no union."""
    inner, _ = unmarked(hint)
    return typing.get_args(inner) if typing.get_origin(inner) in (typing.Union, types.UnionType) else ()


def _put(kind: Any, plain: Any, path: str, word: str) -> None:
    """Set the value at a path in settings as plain data."""
    *above, last = path.split(".")
    for part in above:
        hint = _hint(kind, part, path)
        known = kinds_by_name(hint).values()
        plain = plain[part]
        kind = next((one for one in known if isinstance(plain, dict) and one.__name__ == plain.get("kind")), hint)
        if not dataclasses.is_dataclass(kind):
            raise ConfigError(f"{path}: {part} has no fields of its own: name {part} itself")
    hint = _hint(kind, last, path)
    known_choices = kinds_by_name(hint)
    if known_choices:
        _choose(plain, last, path, word, known_choices)
    elif isinstance(hint, type) and dataclasses.is_dataclass(hint):
        names = ", ".join(f"{path}.{field.name}" for field in dataclasses.fields(hint))
        raise ConfigError(f"{path}: it has no value of its own: name one of {names}")
    else:
        plain[last] = _value(hint, word, path)


def _hint(kind: Any, name: str, path: str) -> Any:
    hints = typing.get_type_hints(kind, include_extras=True)
    names = [field.name for field in dataclasses.fields(kind)]
    if name not in names:
        raise ConfigError(f"{path}: {kind.__name__} has no field {name!r}; it has {', '.join(names) or 'none'}")
    return hints[name]


def _choose(plain: Any, name: str, path: str, word: str, known: Mapping[str, type[Any]]) -> None:
    """Take a choice by its name; one that is taken already keeps its fields."""
    if word not in known:
        raise ConfigError(f"{path}: {word!r} is no choice; the choices are {', '.join(known)}")
    if not isinstance(plain[name], dict) or plain[name].get("kind") != known[word].__name__:
        plain[name] = {"kind": known[word].__name__}


def _value(hint: Any, word: str, path: str) -> Any:
    """Read a word as JSON's kind of value; whether it fits is for the reader of settings to say."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _value(args[0], word, path)
    if origin in (typing.Union, types.UnionType):
        if word == "None" and type(None) in args:
            return None
        return _value(next(member for member in args if member is not type(None)), word, path)
    if origin is typing.Literal:
        return next((arg for arg in args if str(arg) == word), word)
    if origin is tuple:
        each = args if args[-1] is not Ellipsis else [args[0]] * len(word.split(","))
        items = word.split(",") if word else []
        if len(items) > len(each):
            raise ConfigError(f"{path}: {word!r} has {len(items)} members: give {len(each)}")
        return [_value(one, item, path) for one, item in zip(each, items, strict=False)]
    return _scalar(hint, word, path)


def _scalar(hint: Any, word: str, path: str) -> Any:
    if hint is bool:
        if word not in ("true", "false", "True", "False"):
            raise ConfigError(f"{path}: {word!r} is neither true nor false")
        return word in ("true", "True")
    if hint in (int, float):
        try:
            return hint(word)
        except ValueError as error:
            raise ConfigError(f"{path}: {word!r} is no {'whole ' * (hint is int)}number") from error
    if hint in (str, Path):
        return word
    raise ConfigError(f"{path}: a value of this kind cannot be given by a word: leave it to the settings")
