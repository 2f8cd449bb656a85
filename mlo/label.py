"""Settings as one would write them."""

from __future__ import annotations

import dataclasses


def label(rule: object) -> str:
    """Return a rule or solver as one would write it: settings that are at their default are left out.

    A part that is given by position, as the solver in `Implicit(CG())`, is always shown.
    """
    if not dataclasses.is_dataclass(rule):
        return repr(rule)
    shown = []
    for item in dataclasses.fields(rule):
        value = getattr(rule, item.name)
        default = item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
        if dataclasses.is_dataclass(value) and not item.kw_only:
            shown.append(label(value))
        elif value != default:
            shown.append(f"{item.name}={label(value)}")
    return f"{type(rule).__name__}({', '.join(shown)})"
