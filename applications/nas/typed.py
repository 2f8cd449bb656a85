"""Whether the fields of settings hold values of their types, wherever the settings come from."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import types
import typing
from typing import Any

from mlo import ConfigError

_LARGEST = 2**53  # whole numbers up to here are floats as well, and are within reach of torch
_SHOWN = 80  # characters of a wrong value


def check_types(where: str, settings: Any) -> None:
    """Refuse a field of the wrong type, a number that is not finite, and a whole number that no computer counts to.

    Args:
        where: What to call the settings.
        settings: A dataclass, whose annotations say what belongs where.

    Raises:
        ConfigError: The message names the field.
    """
    kind: Any = type(settings)
    for name, hint in _hints(kind).items():
        value = getattr(settings, name)
        expected = _misfit(hint, value)
        if expected:
            shown = repr(value) if len(repr(value)) <= _SHOWN else f"{repr(value)[:_SHOWN]} ..."
            raise ConfigError(f"{where}: {name} must be {expected}, got {name}={shown}")


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _misfit(hint: Any, value: Any) -> str:
    """Return what a value should be; nothing if it is that."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        missing = [_misfit(member, value) for member in args]
        return "" if "" in missing else " or ".join(dict.fromkeys(missing))
    if origin is typing.Literal:
        fits = any(type(value) is type(arg) and value == arg for arg in args)
        return "" if fits else f"one of {', '.join(map(str, args))}"
    if origin is tuple:
        return _misfit_tuple(args, value)
    if hint is float:
        return _misfit_float(value)
    if hint is int:
        whole = type(value) is int
        return "" if whole and abs(value) <= _LARGEST else ("smaller than 2**53" if whole else "a whole number")
    if hint in (bool, str, type(None)):
        return "" if type(value) is hint else {bool: "True or False", str: "a text"}.get(hint, "None")
    return "" if not inspect.isclass(hint) or isinstance(value, hint) else f"a {hint.__name__}"


def _misfit_float(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "a number"
    if isinstance(value, int):
        return "" if abs(value) <= _LARGEST else "smaller than 2**53, or written as 1e20"
    return "" if math.isfinite(value) else "finite"


def _misfit_tuple(args: tuple[Any, ...], value: Any) -> str:
    if not isinstance(value, tuple):
        return "a tuple"
    if args[-1] is not Ellipsis and len(value) != len(args):
        return f"a tuple of {len(args)}"
    kinds = [args[0]] * len(value) if args[-1] is Ellipsis else args
    wrong = [_misfit(kind, item) for kind, item in zip(kinds, value, strict=True)]
    return next((f"a tuple whose members are each {one}" for one in wrong if one), "")
