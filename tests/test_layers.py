"""Lower never imports higher: the import rule of the package and of its application, read from their source.

To add a module, put its name into `LAYERS` or `NAS_LAYERS`. A name stands for a module or for a folder with all that is
in it.
Modules of one layer may import each other, as long as no cycle arises. An import inside a function or under
`TYPE_CHECKING` counts: it points in a direction as well.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.import_rule import House, cycle, private_uses, public_names, undeclared, unknown, upward

LAYERS: list[set[str]] = [  # lowest first
    {"errors", "label", "version"},
    {"checks", "determinism"},
    {"rng", "autocast", "normalized"},
    {"position"},
    {"layout", "flat", "look", "vector"},
    {"autodiff", "meter", "module", "refusals", "variable"},
    {"scaling"},
    {"update", "linear", "parallel"},
    {"view", "batch_norm", "hand_over"},
    {"pieces"},
    {"hypergradient"},
    {"problem"},
    {"graph", "interleave", "proximal", "proximal_update"},
    {"reads", "outline", "top"},
    {"context", "writable"},
    {"report"},
    {"evaluate", "ahead"},
    {"solved"},
    {"blame", "cause", "drift", "warned"},
    {"solve"},
    {"feed", "clip_parts", "divergence"},
    {"supply"},
    {"engine", "gradient", "snapshot"},
    {"advice", "advise", "checkpoint"},
    {"testing", "extend"},
]
NAS_LAYERS: list[set[str]] = [  # lowest first
    {
        "files",
        "config_file",
        "progress",
        "console_table",
        "_lane",
        "process",
        "refusal",
        "seeded",
        "lock",
        "streams",
        "typed",
    },
    {"archive"},
    {"sealed"},
    {"jobs", "config_fields", "launch"},
    {"stopping", "pace"},
    {"objective", "space"},
    {"data", "methods", "networks"},
    {"settings"},
    {"presets", "tasks", "optimizers", "together", "learner"},
    {"run_folder"},
    {"settings_table", "draw", "formulations"},
    {"watch"},
    {"search", "retrain"},
    {"summary", "report", "dry_run"},
    {"demo", "sweep"},
    {"commands"},
    {"cli", "__main__"},
]
PUBLIC_ONLY = ["applications", "examples"]  # these see of `mlo` what a user sees
ABOVE = ["applications", "benchmarks", "examples", "tests"]  # `mlo` never imports these
OPTIONAL = {"testing": {"hypothesis"}}  # what a layer may import, lazily, beyond the declared dependencies

ROOT = Path(__file__).resolve().parents[1]


MLO, NAS = House("mlo", LAYERS), House("applications.nas", NAS_LAYERS)
HOUSES = pytest.mark.parametrize("house", [MLO, NAS], ids=["mlo", "nas"])


def declared_dependencies() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {re.match(r"[a-z0-9_-]+", line)[0] for line in project["dependencies"]}


# The rules, applied to this package and its application.


@HOUSES
def test_every_module_has_a_layer(house):
    missing = unknown(ROOT, house)
    assert not missing, f"new modules: add each to a layer at the top of {Path(__file__).name}: {', '.join(missing)}"


def test_every_layer_holds_what_is_there():
    root, names = ROOT / NAS.folder, set().union(*NAS.layers)
    assert [name for name in sorted(names) if not ((root / name).is_dir() or (root / f"{name}.py").is_file())] == []


@HOUSES
def test_lower_never_imports_higher(house):
    assert upward(ROOT, house) == []


@HOUSES
def test_no_cycles(house):
    assert cycle(ROOT, house) == []


def test_mlo_needs_only_its_declared_dependencies():
    assert undeclared(ROOT, declared_dependencies(), OPTIONAL) == []


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
    assert upward(package(**{"mlo/vector": source, "mlo/solve": ""}), MLO)


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
    assert unknown(root, MLO) == []
    assert upward(root, MLO) == []
    assert cycle(root, MLO) == []


def test_a_cycle_inside_a_layer_is_found(package):
    root = package(**{"mlo/graph": "from mlo.interleave import x", "mlo/interleave": "def f():\n    import mlo.graph"})
    assert set(cycle(root, MLO)) == {"mlo.graph", "mlo.interleave"}


def test_a_new_module_is_found(package):
    assert unknown(package(**{"mlo/surprise": "", "mlo/linear/gmres": ""}), MLO) == ["mlo/surprise.py"]


@pytest.mark.parametrize("name", [*ABOVE, "torchvision", "rich.console", "tyro", "sklearn", "hypothesis"])
def test_an_undeclared_import_is_found(package, name):
    assert undeclared(package(**{"mlo/engine": f"import {name}"}), declared_dependencies(), OPTIONAL)


def test_hypothesis_is_allowed_in_testing(package):
    root = package(**{"mlo/testing/strategies": "import hypothesis\nimport torch\nimport math"})
    assert undeclared(root, declared_dependencies(), OPTIONAL) == []


@pytest.mark.parametrize(
    "source",
    ["import mlo.solve", "from mlo.solve import solve", "from mlo import solve", "import mlo as m\nm.solve.solve"],
)
def test_a_private_use_is_found(package, source):
    root = package(**{"applications/nas/search": source})
    assert private_uses(root, "applications", public_names(root))


def test_the_application_is_looked_at_as_well(package):
    sources = {"applications/nas/space/cell": "from applications.nas.methods import Stage"}
    root = package(**sources, **{"applications/nas/methods/base": "", "applications/nas/shed": ""})
    assert upward(root, NAS) == [
        "applications/nas/space/cell.py:1 imports applications.nas.methods, which is in a higher layer"
    ]
    assert unknown(root, NAS) == ["applications/nas/shed.py"]


def test_public_uses_are_fine(package):
    source = "import mlo\nimport mlo.testing\nfrom mlo import Problem, testing\nmlo.Problem\nmlo.testing.check"
    root = package(**{"applications/nas/search": source})
    assert private_uses(root, "applications", public_names(root)) == []


def test_what_extends_the_library_is_a_public_module(package):
    public = "from mlo.extend import AbstractResponse\nimport mlo.extend"
    assert private_uses(package(**{"applications/nas/rule": public}), "applications", {"extend"}) == []
