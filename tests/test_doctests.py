"""The examples in docstrings run, and the names that readers look up first have one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import tempfile
from pathlib import Path

import pytest

import applications.nas
import mlo
import mlo.testing

NAMES = (
    *("Problem", "ProblemGraph", "Engine", "hypergradient", "Sum", "advise", "interleave", "Proximal", "influence"),
    *("Unroll", "Implicit", "FixedPoint", "FirstOrder", "Penalty", "SingleLoop", "Exact", "FiniteDifference"),
    *("CG", "Neumann", "Dense", "Damped", "Learned", "clip_norm", "Clipped", "Autocast", "deterministic"),
    *("save", "restore", "Checkpoints", "Stop", "Skip"),
)
SHOWN = {f"mlo.{name}": getattr(mlo, name) for name in NAMES} | {
    "mlo.testing.check_hypergradient": mlo.testing.check_hypergradient,
    "mlo.testing.check_deterministic": mlo.testing.check_deterministic,
    "mlo.testing.strategies.quadratic_graphs": mlo.testing.strategies.quadratic_graphs,
    "mlo.testing.strategies.smooth_graphs": mlo.testing.strategies.smooth_graphs,
}


def modules() -> list[str]:
    """Every module of the library and of the application, by name; none of them is a program."""
    found = []
    for package in (mlo, applications.nas):
        inside = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        found += [package.__name__, *(module.name for module in inside if not module.name.endswith("__main__"))]
    return found


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("package", ["mlo", "applications"])
def test_the_examples_run(package: str) -> None:
    finder, told = doctest.DocTestFinder(exclude_empty=True), list[str]()
    runner = doctest.DocTestRunner()
    examples = 0
    for name in modules():
        module = importlib.import_module(name)
        if name.partition(".")[0] != package:
            continue
        for test in finder.find(module, name):
            if test.examples:
                examples += runner.run(test, out=told.append).attempted
    assert runner.failures == 0, "".join(told)
    assert examples > 100 or package != "mlo"


@pytest.mark.parametrize("name", SHOWN)
def test_a_name_has_an_example(name: str) -> None:
    found = [test for test in doctest.DocTestFinder(recurse=False).find(SHOWN[name], name) if test.examples]
    assert found, f"{name}: has no example: add a section `Examples:` with lines that begin with >>>"
    assert 2 <= len(found[0].examples) <= 8
