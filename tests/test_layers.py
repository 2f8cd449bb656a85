"""Lower never imports higher: the import rule of the package, read from its source.

To add a module, put its name into `LAYERS`. A name stands for a module of `mlo` or for a folder with all that is in it.
Modules of one layer may import each other, as long as no cycle arises. An import inside a function or under
`TYPE_CHECKING` counts: it points in a direction as well.
"""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

LAYERS: list[set[str]] = [  # lowest first
    {"errors", "label"},
    {"checks"},
    {"rng"},
    {"vector"},
    {"autodiff", "meter", "module", "variable"},
    {"update", "linear"},
    {"view"},
    {"hypergradient"},
    {"problem"},
    {"graph", "interleave", "proximal"},
    {"reads"},
    {"context"},
    {"solve"},
    {"engine", "gradient", "distributed"},
    {"advice", "advise"},
    {"testing"},
]
PUBLIC_ONLY = ["applications", "examples"]  # these see of `mlo` what a user sees
ABOVE = ["applications", "benchmarks", "examples", "tests"]  # `mlo` never imports these
OPTIONAL = {"testing": {"hypothesis"}}  # what a layer may import, lazily, beyond the declared dependencies

ROOT = Path(__file__).resolve().parents[1]


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


def layer(module: str) -> int | None:
    """The place of a module of `mlo` in the table; the package itself, which holds every name, counts as the top."""
    if module == "mlo":
        return len(LAYERS) - 1
    part = module.split(".")[1]
    return next((place for place, names in enumerate(LAYERS) if part in names), None)


def is_mlo(module: str) -> bool:
    return module.split(".")[0] == "mlo"


def unknown(root: Path) -> list[str]:
    return [str(file.relative_to(root)) for file in files(root, "mlo") if layer(dotted(root, file)) is None]


def edges(root: Path) -> Iterator[tuple[Import, str, str]]:
    """Every import of one module of `mlo` by another. `mlo/__init__.py` is exempt: it only gathers names."""
    modules = {dotted(root, file) for file in files(root, "mlo")}
    for file in files(root, "mlo"):
        source = dotted(root, file)
        for found in imports(root, file):
            reached = target(found, modules)
            if is_mlo(reached) and source not in ("mlo", reached):
                yield found, source, reached


def upward(root: Path) -> list[str]:
    wrong = []
    for found, source, reached in edges(root):
        low, high = layer(source), layer(reached)
        if low is not None and high is not None and low < high:
            wrong.append(f"{found.where} imports {reached}, which is in a higher layer")
    return wrong


def cycle(root: Path) -> list[str]:
    folders = {dotted(root, file) for file in files(root, "mlo") if file.name == "__init__.py"}
    graph: dict[str, set[str]] = {}
    for _, source, reached in edges(root):
        gathers = source in folders and reached.startswith(f"{source}.")
        if not gathers:  # that a folder's __init__ gathers names from the folder is no use of them
            graph.setdefault(source, set()).add(reached)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def undeclared(root: Path, dependencies: set[str]) -> list[str]:
    wrong = []
    for file in files(root, "mlo"):
        part = [*dotted(root, file).split("."), ""][1]
        allowed = {"mlo", *dependencies, *sys.stdlib_module_names, *OPTIONAL.get(part, set())}
        for found in imports(root, file):
            if found.module.split(".")[0] not in allowed:
                wrong.append(f"{found.where} imports {found.module}")
    return wrong


def public_names(root: Path) -> set[str]:
    for node in ast.parse((root / "mlo" / "__init__.py").read_text()).body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if value is not None and any(isinstance(name, ast.Name) and name.id == "__all__" for name in targets):
            return {*ast.literal_eval(value), "testing"}
    raise AssertionError("mlo/__init__.py has no literal __all__")


def private_uses(root: Path, folder: str, public: set[str]) -> list[str]:
    """Imports and attributes of `mlo` that are not public; `mlo.testing` is the one public module."""
    wrong = []
    for file in files(root, folder):
        aliases = {"mlo"}
        for found in imports(root, file):
            if not is_mlo(found.module):
                continue
            if found.module == "mlo":
                allowed = found.name is None or found.name in public
            else:
                allowed = found.module == "mlo.testing"
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


def declared_dependencies() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {re.match(r"[a-z0-9_-]+", line)[0] for line in project["dependencies"]}


# The rules, applied to this package.


def test_every_module_has_a_layer():
    missing = unknown(ROOT)
    assert not missing, f"new modules: add each to LAYERS at the top of {Path(__file__).name}: {', '.join(missing)}"


def test_lower_never_imports_higher():
    assert upward(ROOT) == []


def test_no_cycles():
    assert cycle(ROOT) == []


def test_mlo_needs_only_its_declared_dependencies():
    assert undeclared(ROOT, declared_dependencies()) == []


@pytest.mark.parametrize("folder", PUBLIC_ONLY)
def test_users_of_mlo_see_public_names_only(folder):
    assert private_uses(ROOT, folder, public_names(ROOT)) == []


def test_hypothesis_is_imported_only_when_strategies_are_used():
    extras = ["hypothesis", "matplotlib", "networkx", "rich", "sklearn", "tensorboard", "torchvision", "tyro"]
    program = f"import sys, mlo, mlo.testing; print(*[name for name in {extras} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# The checker itself: each rule is broken once in a small package, and is then reported.


@pytest.fixture
def package(tmp_path):
    def write(**sources: str) -> Path:
        sources = {"mlo/__init__": "__all__ = ['Problem']", **sources}
        for name, source in sources.items():
            file = tmp_path / f"{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source)
        return tmp_path

    return write


@pytest.mark.parametrize(
    "source",
    [
        "from mlo.solve import solve",
        "from .solve import solve",
        "from . import solve",
        "from mlo import solve",
        "import mlo.solve",
        "import mlo",
        "from mlo import Problem",
        "def later():\n    from mlo.solve import solve",
    ],
)
def test_an_upward_import_is_found(package, source):
    assert upward(package(**{"mlo/vector": source, "mlo/solve": ""}))


def test_downward_and_sideways_imports_are_fine(package):
    sources = {
        "mlo/linear/__init__": "from mlo.linear.cg import CG",
        "mlo/linear/base": "from ..vector import dot",
        "mlo/linear/cg": "from mlo.linear.base import Solver\nfrom mlo.update import apply",
        "mlo/vector": "import torch",
        "mlo/update": "",
        "mlo/testing/__init__": "import mlo",
    }
    root = package(**sources)
    assert unknown(root) == []
    assert upward(root) == []
    assert cycle(root) == []


def test_a_cycle_inside_a_layer_is_found(package):
    root = package(**{"mlo/graph": "from mlo.interleave import x", "mlo/interleave": "def f():\n    import mlo.graph"})
    assert set(cycle(root)) == {"mlo.graph", "mlo.interleave"}


def test_a_new_module_is_found(package):
    assert unknown(package(**{"mlo/surprise": "", "mlo/linear/gmres": ""})) == ["mlo/surprise.py"]


@pytest.mark.parametrize("name", [*ABOVE, "torchvision", "rich.console", "tyro", "sklearn", "hypothesis"])
def test_an_undeclared_import_is_found(package, name):
    assert undeclared(package(**{"mlo/engine": f"import {name}"}), declared_dependencies())


def test_hypothesis_is_allowed_in_testing(package):
    root = package(**{"mlo/testing/strategies": "import hypothesis\nimport torch\nimport math"})
    assert undeclared(root, declared_dependencies()) == []


@pytest.mark.parametrize(
    "source",
    ["import mlo.solve", "from mlo.solve import solve", "from mlo import solve", "import mlo as m\nm.solve.solve"],
)
def test_a_private_use_is_found(package, source):
    root = package(**{"applications/nas/search": source})
    assert private_uses(root, "applications", public_names(root))


def test_public_uses_are_fine(package):
    source = "import mlo\nimport mlo.testing\nfrom mlo import Problem, testing\nmlo.Problem\nmlo.testing.check"
    root = package(**{"applications/nas/search": source})
    assert private_uses(root, "applications", public_names(root)) == []
