"""What is public and says nothing of itself: names that the library exports, their members, names that pages import."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import textwrap
import types
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = ("mlo", "applications")
PLACES = ("mlo", "mlo.extend", "mlo.testing", "mlo.testing.strategies")
_SECTION = re.compile(r"^(?:Attributes|Args):\n((?:[ \t]+.*\n?|\n)+)", flags=re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+)(?: \(.*?\))?:", flags=re.MULTILINE)
_MEMBERS = re.compile(r"members: \[(.*?)\]")
_HEADING = re.compile(r"^      heading: (\S+)$", flags=re.MULTILINE)


def undocumented() -> list[str]:
    """Return one line for each public name that has no docstring, or no entry in the reference; each ends with the fix.

    Modules that need a package of an extra which is not installed are left out: a build of the site needs `docs` alone,
    and the tests, which call this as well, have them all.
    """
    return list(dict.fromkeys([*_of_the_library(), *_of_the_pages()]))


def exported() -> dict[str, object]:
    """Return what the library exports, by its dotted name: `mlo`, `mlo.testing` and its strategies."""
    modules = [module for module in map(_imported, PLACES) if module is not None]
    return {f"{module.__name__}.{name}": getattr(module, name) for module in modules for name in _names(module)}


def members(kind: type) -> Iterator[tuple[str, object]]:
    """Yield the public methods and properties of a class that are written in this project, inherited ones too."""
    for name, value in inspect.getmembers_static(kind):
        is_member = inspect.isfunction(value) or isinstance(value, property | classmethod | staticmethod)
        if is_member and not name.startswith("_") and _is_ours(_owner(kind, name)):
            yield name, getattr(kind, name)


def _imported(place: str) -> types.ModuleType | None:
    """Return a module; None if a package that it needs, of another project, is not installed."""
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in OURS:
            raise
        return None


def _names(module: types.ModuleType) -> list[str]:
    """Return `__all__`, or without one the public functions and classes that are defined in a module."""
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if name != "__version__"]
    own = [(name, value) for name, value in vars(module).items() if not name.startswith("_")]
    return [name for name, value in own if getattr(value, "__module__", None) == module.__name__]


def _of_the_library() -> Iterator[str]:
    shown = _shown()
    for name, value in exported().items():
        yield from _silent(name, value)
        if name not in shown and name not in PLACES:
            yield f"{name}: is not in the reference: add `::: {name}` to docs/api.md"
        elif shown.get(name) == name and _hidden_by_a_module(name, value):
            found = f"{value.__module__}.{value.__name__}"  # type: ignore[attr-defined]
            yield f"{name}: the reference shows the module of that name: write `::: {found}` and `heading: {name}`"


def _hidden_by_a_module(name: str, value: object) -> bool:
    """Tell whether a function or class has the name of a module, which is what the reference would show instead."""
    place = ROOT.joinpath(*name.split("."))
    return not isinstance(value, types.ModuleType) and (place.is_dir() or place.with_suffix(".py").is_file())


def _shown() -> dict[str, str]:
    """Return the dotted names that docs/api.md shows, those of `members: [...]` included, and where it finds them."""
    found = dict[str, str]()
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for block in re.split(r"^::: ", text, flags=re.MULTILINE)[1:]:
        name = block.split("\n", 1)[0].strip()
        chosen = _MEMBERS.search(block)
        heading = _HEADING.search(block)
        found |= {f"{name}.{alias}": name for alias in re.findall(r"`(\w+)` is ", block)}
        found[heading[1] if heading else name] = name
        for member in chosen[1].split(",") if chosen else ():
            found[f"{name}.{member.strip()}"] = f"{name}.{member.strip()}"
    return found


def _of_the_pages() -> Iterator[str]:
    """Yield what Python blocks of the pages import from the applications, and that says nothing of itself."""
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            for one in ast.walk(ast.parse(block)):
                if isinstance(one, ast.ImportFrom) and (one.module or "").startswith("applications."):
                    module = _imported(one.module or "")
                    for alias in one.names if module is not None else ():
                        yield from _silent(f"{module.__name__}.{alias.name}", getattr(module, alias.name))


def _silent(name: str, value: object) -> Iterator[str]:
    """Yield a name without a docstring, and those of its members and fields that nothing describes."""
    has_one = inspect.isroutine(value) or isinstance(value, type | types.ModuleType)
    if has_one and not _own_text(value):
        yield f"{name}: has no docstring: write one"
    if not isinstance(value, type):
        return
    for member, found in members(value):
        if not inspect.getdoc(found):
            yield f"{name}.{member}: has no docstring: write one"
    told = _told_of_fields(value)
    for field in dataclasses.fields(value) if dataclasses.is_dataclass(value) else ():
        if not field.name.startswith("_") and field.name not in told:
            yield f"{name}.{field.name}: nothing describes this field: name it under `Attributes:` of its class"


def _own_text(value: object) -> bool:
    """Tell whether something has a docstring of its own: not one that `dataclass` made, or that a base has."""
    text = value.__doc__ or ""
    return bool(text) and not (isinstance(value, type) and text.startswith(f"{value.__name__}("))


def _owner(kind: type, member: str) -> type:
    return next(base for base in kind.__mro__ if member in vars(base))


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in OURS


def _told_of_fields(kind: type) -> set[str]:
    """Return the names that a class and its bases describe, in a section or in a string behind the field."""
    found = set[str]()
    for base in filter(_is_ours, kind.__mro__):
        for section in _SECTION.findall(inspect.cleandoc(base.__doc__ or "")):
            found |= set(_ENTRY.findall(section))
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        statements = body.body if isinstance(body, ast.ClassDef) else []
        found |= {_field(one) for one, after in pairwise(statements) if _is_text(after)}
    return found


def _field(statement: ast.stmt) -> str:
    target = statement.target if isinstance(statement, ast.AnnAssign) else None
    return target.id if isinstance(target, ast.Name) else ""


def _is_text(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
