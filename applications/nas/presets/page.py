"""The page `docs/presets.md`: every setting of every published preset, and where it comes from.

Write it anew with `python -m applications.nas.presets.page > docs/presets.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from applications.nas.presets.retrain import RETRAIN
from applications.nas.presets.search import SEARCH
from applications.nas.presets.sources import RETRAIN_SOURCES, SEARCH_SOURCES, flat_settings, source_of

_HEAD = """# Presets

Every setting of every published preset, with its source. "Program" is the code that a method's authors published, in
the state in which it was read for this project; where program and paper differ, the source says so. A preset is a
starting point: any setting can be overridden on the command line, and a run's `config.json` holds what was used.

The presets that end in `-original` search as a method's authors did. Those that end in `-paper` take the flat settings
of the interleaving paper, which says the same numbers for all methods (they are DARTS' own) and leaves the rest open.
They interleave; `formulation:multi` and `formulation:single` give the paper's rivals.

The small presets, `digits` and `folders`, are this project's own: small enough for a laptop, and no evidence for or
against a method.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *_part("search", SEARCH, SEARCH_SOURCES), *_part("retrain", RETRAIN, RETRAIN_SOURCES)])


def _part(
    command: str, presets: Mapping[str, tuple[str, Any]], sources: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    for name in sources:
        text, settings = presets[name]
        yield f"## `mlo-nas {command} {name}`\n\n{text}\n\n| setting | value | source |\n|---|---|---|"
        for field, value in flat_settings(settings):
            yield f"| `{field}` | {_shown(value)} | {source_of(sources, name, field)} |"
        yield ""


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "left out"
    return "left out" if value is None or value == "" else str(value)


if __name__ == "__main__":
    sys.stdout.write(page())
