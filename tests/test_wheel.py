"""A wheel, built and installed into a clean environment, carries the library and the architecture search."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(*command, cwd):
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet")
    run(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A new environment with the wheel; what it depends on is lent by this one, whose own copy of it is not."""
    folder = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    offline = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", *offline, wheel, cwd=folder)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # A path file is read for its own folder alone, so that an editable installation in the lender's is not seen.
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_the_wheel_holds_both_packages_and_what_they_need(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in ("mlo", "applications")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources <= set(names)
    assert {name.split("/")[0] for name in names} == {
        "mlo",
        "applications",
        f"mlo_torch-{PROJECT['version']}.dist-info",
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_library_works_from_the_wheel(environment, tmp_path):
    program = """
import mlo, torch, torchopt
assert mlo.__file__.startswith({prefix!r}), mlo.__file__
one = torch.ones((), dtype=torch.float64)
lower = mlo.Problem("w", lambda v, _: (v.w - v.x) ** 2, one, reads=["x"], update=torchopt.sgd(0.5))
upper = mlo.Problem("x", lambda v, _: v.w**2, 3 * one, reads=["w"])
print(float(mlo.hypergradient(mlo.ProblemGraph([upper, lower]), of="x")))
"""
    python = environment / "bin" / "python"
    assert run(python, "-c", program.format(prefix=str(environment)), cwd=tmp_path) == "6.0\n"


def test_the_architecture_search_works_from_the_wheel(environment, tmp_path):
    told = run(environment / "bin" / "mlo-nas", "search", "digits", "--dry-run", cwd=tmp_path)
    assert "interleaving" in told
    assert not list(tmp_path.iterdir())
