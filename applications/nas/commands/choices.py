"""Choices such as formulation:single, which may stand anywhere behind a preset."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from applications.nas.config_fields import choices


def all_choices(settings: Any, prefix: str = "") -> dict[str, list[str]]:
    """Return the words of all choices among settings, by the word of what is chosen in them.

    Args:
        settings: A frozen dataclass, nested.
        prefix: What the options of these settings begin with, such as "retrain.".
    """
    found, hints = {}, typing.get_type_hints(type(settings), include_extras=True)
    for field in dataclasses.fields(settings):
        value, path = getattr(settings, field.name), f"{prefix}{field.name}"
        words = {kind: f"{path}:{name}" for name, kind in choices(hints[field.name]).items()}
        if type(value) in words:
            found[words[type(value)]] = list(words.values())
        if dataclasses.is_dataclass(value):
            found |= all_choices(value, f"{path}.")
    return found


def with_choices(words: list[str], known: dict[str, list[str]]) -> list[str]:
    """Put the choices first, and name those that the user leaves to the settings.

    So options may stand anywhere, and those of a choice are there without naming it again.

    Args:
        words: Words of a command line.
        known: What `all_choices` returns.
    """
    chosen = []
    for default, options in known.items():
        named = [word for word in words if word in options]
        chosen.append(named[-1] if named else default)
    every = {option for options in known.values() for option in options}
    return chosen + [word for word in words if word not in every]
