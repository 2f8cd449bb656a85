"""The checker of the import rule: what imports what, read from the source."""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple


class House(NamedTuple):
    """A package, dotted, and its layers."""

    package: str
    layers: list[set[str]]

    @property
    def folder(self) -> str:
        return self.package.replace(".", "/")

    def holds(self, module: str) -> bool:
        return f"{module}.".startswith(f"{self.package}.")


class Import(NamedTuple):
    """`where` holds the line; `module` is absolute; `name` is what is taken from it, None for `import module`."""

    where: str
    module: str
    name: str | None


def files(root: Path, folder: str) -> list[Path]:
    return sorted((root / folder).rglob("*.py"))


def dotted(root: Path, file: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(root: Path, file: Path) -> Iterator[Import]:
    package = list(file.relative_to(root).parent.parts)
    for node in ast.walk(ast.parse(file.read_text())):
        where = f"{file.relative_to(root)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield from (Import(where, alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (Import(where, module, alias.name) for alias in node.names)


def target(found: Import, modules: set[str]) -> str:
    """The module that an import reaches: `from mlo import vector` reaches mlo.vector."""
    inner = f"{found.module}.{found.name}"
    return inner if inner in modules else found.module


def layer(module: str, house: House) -> int | None:
    """The place of a module in the table; the package itself, which holds every name, counts as the top."""
    if module == house.package:
        return len(house.layers) - 1
    part = module.removeprefix(f"{house.package}.").split(".")[0]
    return next((place for place, names in enumerate(house.layers) if part in names), None)


def unknown(root: Path, house: House) -> list[str]:
    found = files(root, house.folder)
    return [str(file.relative_to(root)) for file in found if layer(dotted(root, file), house) is None]


def edges(root: Path, house: House) -> Iterator[tuple[Import, str, str]]:
    """Every import of one module of a package by another. Its own `__init__.py` is exempt: it only gathers names."""
    modules = {dotted(root, file) for file in files(root, house.folder)}
    for file in files(root, house.folder):
        source = dotted(root, file)
        for found in imports(root, file):
            reached = target(found, modules)
            if house.holds(reached) and source not in (house.package, reached):
                yield found, source, reached


def upward(root: Path, house: House) -> list[str]:
    wrong = []
    for found, source, reached in edges(root, house):
        low, high = layer(source, house), layer(reached, house)
        if low is not None and high is not None and low < high:
            wrong.append(f"{found.where} imports {reached}, which is in a higher layer")
    return wrong


def cycle(root: Path, house: House) -> list[str]:
    folders = {dotted(root, file) for file in files(root, house.folder) if file.name == "__init__.py"}
    graph: dict[str, set[str]] = {}
    for _, source, reached in edges(root, house):
        gathers = source in folders and reached.startswith(f"{source}.")
        if not gathers:  # that a folder's __init__ gathers names from the folder is no use of them
            graph.setdefault(source, set()).add(reached)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def is_mlo(module: str) -> bool:
    return module.split(".")[0] == "mlo"


def undeclared(root: Path, dependencies: set[str], optional: Mapping[str, set[str]]) -> list[str]:
    wrong = []
    for file in files(root, "mlo"):
        part = [*dotted(root, file).split("."), ""][1]
        allowed = {"mlo", *dependencies, *sys.stdlib_module_names, *optional.get(part, set())}
        for found in imports(root, file):
            if found.module.split(".")[0] not in allowed:
                wrong.append(f"{found.where} imports {found.module}")
    return wrong


def public_names(root: Path) -> set[str]:
    for node in ast.parse((root / "mlo" / "__init__.py").read_text()).body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if value is not None and any(isinstance(name, ast.Name) and name.id == "__all__" for name in targets):
            return {*ast.literal_eval(value), "testing", "extend"}
    raise AssertionError("mlo/__init__.py has no literal __all__")


def private_uses(root: Path, folder: str, public: set[str]) -> list[str]:
    """Imports and attributes of `mlo` that are not public; `mlo.testing` and `mlo.extend` are the public modules."""
    wrong = []
    for file in files(root, folder):
        aliases = {"mlo"}
        for found in imports(root, file):
            if not is_mlo(found.module):
                continue
            if found.module == "mlo":
                allowed = found.name is None or found.name in public
            else:
                allowed = found.module in ("mlo.testing", "mlo.extend")
            if not allowed:
                wrong.append(f"{found.where} imports {found.module}{f'.{found.name}' if found.name else ''}")
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                aliases |= {alias.asname for alias in node.names if alias.name == "mlo" and alias.asname}
        for node in ast.walk(tree):
            of_mlo = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases
            if of_mlo and node.attr not in public:
                wrong.append(f"{file.relative_to(root)}:{node.lineno} uses mlo.{node.attr}")
    return wrong
