"""In what the settings of runs differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from applications.nas.search.words import strength
from applications.nas.settings import Interleaving

REPEATED = {"seed", "seeds", "device"}
"""Fields that make no other method: they say which repetition it was, and where."""
_PLACES = {"data.root", "data.download", "data.workers"}


def flat(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings that decide about a result, as text by dotted path; places of data and seeds do not count."""
    found: dict[str, str] = {}
    _flatten(settings, "", found)
    return {path: text for path, text in found.items() if path not in _PLACES and path not in REPEATED}


def differences(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the paths at which flat settings are not all alike, in the order in which they first occur.

    The fields of a choice that differs are not named: that it differs says it.
    """
    paths = dict.fromkeys(path for one in settings for path in one)
    differ = [path for path in paths if len({one.get(path) for one in settings}) > 1]
    chosen = [path for path in differ if path.endswith(".kind")]
    return [path for path in differ if not any(_belongs(path, choice) for choice in chosen)]


def describe(settings: Mapping[str, str], paths: Sequence[str]) -> str:
    """Write the values at some paths; of many, the first four."""
    shown = [_shown(path, settings) for path in paths if path in settings]
    more = f" and {len(shown) - 4} more settings" if len(shown) > 4 else ""
    return ", ".join(shown[:4]) + more


def tell_apart(settings: Mapping[str, str], among: Sequence[Mapping[str, str]]) -> str:
    """Write what tells flat settings apart from others: four values, and those that the equals of these differ in.

    Args:
        settings: What is to be told.
        among: It and the others, no two of which are alike.
    """
    told = describe(settings, differences(among))
    equals = [one for one in among if describe(one, differences(among)) == told]
    return f"{told}; {tell_apart(settings, equals)}" if 1 < len(equals) < len(among) else told


def _shown(path: str, settings: Mapping[str, str]) -> str:
    """Write one value; a lambda says nothing without c, which stands behind it."""
    text = f"{path.removesuffix('.kind')}={settings[path]}"
    if path != "formulation.weight" or "weights.lr" not in settings:
        return text
    form: Any = settings.get("formulation.form", "implicit")
    c, rho = strength(Interleaving(weight=float(settings[path]), form=form), float(settings["weights.lr"]))
    return f"{text}, c={c:.3g}, rho={rho:.3g}"


def _belongs(path: str, choice: str) -> bool:
    return path != choice and path.startswith(choice.removesuffix("kind"))


def _flatten(settings: Mapping[str, Any], prefix: str, found: dict[str, str]) -> None:
    for name, value in settings.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            _flatten(value, f"{path}.", found)
        elif path == "data.roots" and isinstance(value, list):
            found[path] = ",".join(PurePath(str(root)).name for root in value)
        elif path != "kind":
            found[path] = _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ",".join(_text(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value).removesuffix(".0")
