"""Settings as one would write them."""

from __future__ import annotations

import dataclasses


def label(rule: object) -> str:
    """Return a rule or solver as one would write it: settings that are at their default are left out."""
    if not dataclasses.is_dataclass(rule):
        return repr(rule)
    shown = []
    for item in dataclasses.fields(rule):
        value = getattr(rule, item.name)
        default = item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
        if item.name == "solver":
            shown.append(label(value))
        elif value != default:
            shown.append(f"{item.name}={label(value)}")
    return f"{type(rule).__name__}({', '.join(shown)})"
