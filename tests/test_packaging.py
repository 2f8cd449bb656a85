"""What is declared, what is pinned and what is run agree with each other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENT = re.compile(r"(?P<name>[a-z0-9-]+)(\[[a-z,]+\])?(?P<bounds>.*)")
CAPPED = {"mkdocs": ">=1.6,<2"}  # 2.0 drops the plugins and themes that the documentation is built with


def requirements() -> dict[str, str]:
    """Every direct dependency, of the package and of its extras, and the bounds declared for it."""
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    declared = [line for group in groups for line in group]
    found = {match["name"]: match["bounds"] for match in map(REQUIREMENT.fullmatch, declared) if match}
    return {name: bounds for name, bounds in found.items() if name != PROJECT["name"]}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@pytest.mark.parametrize(("name", "bounds"), sorted(requirements().items()))
def test_a_requirement_is_a_floor_and_its_pin_is_above_it(name, bounds):
    if name in CAPPED:
        assert bounds == CAPPED[name]
    else:
        assert re.fullmatch(r">=[0-9.]+", bounds), f"{name}{bounds}: declare a floor and no cap"
    assert name in pins(), f"{name} is installed directly: pin its tested version in constraints.txt"
    floor = re.findall(r">=([0-9.]+)", bounds)[0]
    assert numbers(pins()[name]) >= numbers(floor)


def test_every_pin_is_a_requirement():
    assert set(pins()) == set(requirements())


def test_continuous_integration_runs_make_test():
    script = ROOT / ".ci" / "run"
    makefile = (ROOT / "Makefile").read_text()
    assert script.stat().st_mode & 0o100, ".ci/run is not executable"
    assert script.read_text().splitlines()[-1] == "exec make test"
    assert re.search(r"^test: lint\b.*\n\t\$\(BIN\)/python -m pytest\b", makefile, flags=re.MULTILINE)


def test_targets_install_declared_extras():
    named = re.findall(r"EXTRAS = (\S+)", (ROOT / "Makefile").read_text())
    assert named
    assert {extra for names in named for extra in names.split(",")} <= set(PROJECT["optional-dependencies"])


def test_applications_is_a_namespace_package():
    assert not (ROOT / "applications" / "__init__.py").exists()
    assert (ROOT / "applications" / "nas" / "__init__.py").exists()
