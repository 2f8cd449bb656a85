"""Settings as JSON, both ways; whatever is unknown or of the wrong type is refused by name."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import sys
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from mlo import ConfigError

S = TypeVar("S")
_OWN = ": a class of your own has to be imported first, by a plug-in or by your own script"
_MARK = "\ufeff"  # some editors put it before any text


def to_json(settings: Any) -> str:
    """Write settings (frozen dataclasses, nested) as JSON; a choice among classes is marked by "kind"."""
    return json.dumps(_plain(settings), indent=2) + "\n"


def from_json(kind: type[S], text: str, where: str) -> S:
    """Read settings that `to_json` wrote.

    Args:
        kind: The dataclass.
        text: JSON; keys that are left out take their defaults.
        where: What to call the text in an error, such as its path.

    Raises:
        ConfigError: If the text is no JSON, or a key or a value does not belong there; the message names it.
    """
    try:
        content = json.loads(text.removeprefix(_MARK), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        cure = "mend it; JSON has no comments, and no comma at an end"
        raise ConfigError(f"{where} is not JSON ({error}): {cure}") from error
    try:
        result: S = _parse(kind, content, where)
    except ConfigError as error:  # of settings that do not go together, which do not know where they come from
        raise error if where in str(error) else ConfigError(f"{where}: {error}") from error
    return result


def renewed(kind: type[Any], text: str) -> str:
    """Return what `to_json` wrote once as it writes it now: settings that are new since have their defaults.

    Args:
        kind: The dataclass.
        text: JSON; if it does not fit the dataclass, it is returned as it is.
    """
    try:
        return to_json(from_json(kind, text, ""))
    except ConfigError:
        return text


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON, unless it has a key twice: which of the two was meant is not for us to choose."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f"it has the key {twice!r} twice")
    return found


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _parse(kind: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _parse(args[0], value, where)
    if origin in (typing.Union, types.UnionType):
        return _parse(_member(args, value, where), value, where)
    if origin is typing.Literal:
        fits = any(value == arg and type(value) is type(arg) for arg in args)
        return _expect(fits, value, f"one of {', '.join(map(str, args))}", where)
    if origin is tuple:
        return _parse_tuple(args, value, where)
    if inspect.isabstract(kind):
        return _parse(_member(_concrete(kind), value, where, _OWN), value, where)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _parse_dataclass(kind, value, where)
    return _parse_plain(kind, value, where)


def _parse_dataclass(kind: type[Any], value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), value, "an object", where)
    name = kind.__qualname__
    if value.get("kind", name) != name:
        raise ConfigError(f"{where}: kind {value['kind']!r} does not belong here; {name!r} does")
    given = {key: item for key, item in value.items() if key != "kind"}
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in given:
        if key not in fields:
            raise ConfigError(f"{where}: unknown key {key!r}; known here: {', '.join(fields) or 'none'}")
    for key, one in fields.items():
        if key not in given and one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: key {key!r} is missing: it has no default, so give it")
    return kind(**{key: _parse(hints[key], item, f"{where}: {key}") for key, item in given.items()})


def _concrete(kind: type[Any]) -> tuple[type[Any], ...]:
    """Return the classes below an abstract one that can be made; those of a user are among them once imported."""
    below = kind.__subclasses__()
    return tuple(k for k in below if not inspect.isabstract(k)) + tuple(k for b in below for k in _concrete(b))


def _member(args: tuple[Any, ...], value: Any, where: str, cure: str = "") -> Any:
    """Choose the member of a union that a value is meant for; `cure` ends the error about a name that is none."""
    if value is None and type(None) in args:
        return type(None)
    members = [typing.get_args(arg)[0] if typing.get_origin(arg) is typing.Annotated else arg for arg in args]
    classes = {m.__name__: m for m in members if isinstance(m, type) and dataclasses.is_dataclass(m)}
    if not classes:
        return next(member for member in members if member is not type(None))
    named = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(named, str) or named not in classes:
        told = f"{where}: needs a key 'kind', one of {', '.join(classes)}; got {named!r}"
        raise ConfigError(told + (cure if isinstance(named, str) else ""))
    return classes[named]


def _parse_tuple(args: tuple[Any, ...], value: Any, where: str) -> Any:
    _expect(isinstance(value, list), value, "a list", where)
    if args[-1] is Ellipsis:
        return tuple(_parse(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    _expect(len(value) == len(args), value, f"a list of {len(args)}", where)
    return tuple(_parse(arg, item, f"{where}[{i}]") for i, (arg, item) in enumerate(zip(args, value, strict=True)))


def _parse_plain(kind: Any, value: Any, where: str) -> Any:
    if kind is Path:
        return Path(_expect(_is_path(value), value, "a path", where))
    if kind is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        return float(_expect(fits, value, "a finite number", where))
    fits = value is None if kind is type(None) else type(value) is kind
    return _expect(fits, value, f"of type {kind.__name__}", where)


def _is_path(value: Any) -> bool:
    """Return whether a value is text of which the system may have a file; names that are no UTF-8 are kept."""
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _expect(fits: bool, value: Any, what: str, where: str) -> Any:
    if not fits:
        raise ConfigError(f"{where}: expected {what}, got {value!r}")
    return value
