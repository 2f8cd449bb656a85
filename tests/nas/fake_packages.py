"""Packages with a name and nothing in them, for a pip that has no network: wheels in a folder, and a git repository."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

WHEELS = {"betty_ml": "0.2.1", "higher": "0.2.1", "boat_torch": "1.1.1"}
REPOSITORY = "https://github.com/prolearner/hypertorch"


def pip_settings(folder: Path) -> dict[str, str]:
    """Make the packages; return the environment in which pip, and the git that it calls, find these alone."""
    if not folder.exists():
        folder.mkdir()
        for name, version in WHEELS.items():
            write_wheel(folder, name, version)
        _write_repository(folder / "hypertorch")
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{(folder / 'hypertorch').as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": REPOSITORY,
    }


def write_wheel(folder: Path, name: str, version: str) -> None:
    """Write a wheel that holds what pip wants to know, and nothing else."""
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{about}/RECORD", "")


def _write_repository(folder: Path) -> None:
    """Write a repository whose package builds itself: it copies the wheel that lies in it."""
    folder.mkdir()
    write_wheel(folder, "hypertorch", "0")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n'
    )
    wheel = "hypertorch-0-py3-none-any.whl"
    copy = f'    shutil.copy("{wheel}", folder)\n    return "{wheel}"\n'
    (folder / "own.py").write_text(f"import shutil\n\n\ndef build_wheel(folder, *_):\n{copy}")
    author = ["-c", "commit.gpgsign=false", "-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    for words in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
