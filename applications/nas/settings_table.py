"""Settings as a table for people: each field by its path, its value, and what it means."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any

from applications.nas.run_folder.page import Table


def settings_table(settings: Any) -> Table:
    """Return every setting as a row: its name as on the command line, its value, its meaning.

    Args:
        settings: Frozen dataclasses, nested.

    Returns:
        A table of three columns.
    """
    return Table(("setting", "value", "what it is"), list(_rows(settings, "")))


def _rows(settings: Any, prefix: str) -> Iterator[tuple[str, str, str]]:
    meanings = _meanings(type(settings))
    for field in fields(settings):
        name, value = prefix + field.name.replace("_", "-"), getattr(settings, field.name)
        if is_dataclass(value) and not isinstance(value, type):
            yield name, type(value).__name__, meanings.get(field.name) or _first_line(type(value))
            yield from _rows(value, f"{name}.")
        else:
            yield name, _shown(value), meanings.get(field.name, "")


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_shown(item) for item in value) or "none"
    if value is None or value == "":
        return "left out"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _meanings(kind: type) -> dict[str, str]:
    """Return the text that stands below each field in the source; none where the source is not at hand."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found = {}
    for line, below in pairwise(body):
        target = line.target if isinstance(line, ast.AnnAssign) else None
        text = below.value if isinstance(below, ast.Expr) else None
        if isinstance(target, ast.Name) and isinstance(text, ast.Constant):
            found[target.id] = " ".join(str(text.value).split())
    return found
