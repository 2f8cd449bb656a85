"""The environment of a run: enough to repeat it, and nothing about whose machine it was."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from applications.nas.run_folder import write_config
from applications.nas.run_folder.environment import command_line, commit, environment
from applications.nas.settings import SearchSettings

WORKING, HOME = Path("/home/ada/project"), Path("/home/ada")


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_what_is_told(tmp_path: Path) -> None:
    write_config(tmp_path, SearchSettings())
    found = json.loads((tmp_path / "environment.json").read_text())
    names = {"python", "torch", "torchopt", "torchvision", "numpy", "system", "machine", "cpu", "cpus", "threads"}
    assert names | {"gpu", "gpus", "driver", "cuda", "commit", "command", "started"} <= set(found)
    assert found["cpus"] >= 1
    assert found["cpu"]
    assert found["mlo-torch"] != "not installed"


def test_no_user_and_no_folder_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = ["/usr/local/bin/mlo-nas", "search", "folders", "--data.roots", str(tmp_path / "a")]
    monkeypatch.setattr("sys.argv", words)
    monkeypatch.chdir(tmp_path)
    found = environment()
    assert found["command"] == "mlo-nas search folders --data.roots a"
    places = (f"{Path.home()}/", str(tmp_path))
    assert not [value for value in map(str, found.values()) if any(place in value for place in places)]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["/opt/v/bin/mlo-nas", "search", "digits"], "mlo-nas search digits"),
        (["/home/ada/project/applications/nas/__main__.py", "demo"], "python -m applications.nas demo"),
        (["x", "--out", "/home/ada/project/runs/1"], "x --out runs/1"),
        (["x", "--out=/home/ada/project/runs/1"], "x --out=runs/1"),
        (["x", "--out=/home/ada/other"], "x '--out=~/other'"),
        (["x", "/data/of/bob/cifar"], "x .../cifar"),
        (["x", "relative/path", "a b", "--n=3"], "x relative/path 'a b' --n=3"),
        ([], "''"),
    ],
)
def test_the_command_is_told_without_places(words: list[str], shown: str) -> None:
    assert command_line(words, WORKING, HOME) == shown


def test_a_home_or_working_folder_that_is_the_root_says_nothing() -> None:
    assert command_line(["x", "/a/b"], Path("/"), Path("/")) == "x .../b"


def test_the_commit_is_that_of_the_source_alone(tmp_path: Path) -> None:
    assert commit(tmp_path) == "none", "no repository"
    git(tmp_path, "init", "-q")
    assert commit(tmp_path) == "none", "nothing is committed"
    source, foreign = tmp_path / "source", tmp_path / "foreign"
    for folder in (source, foreign):
        folder.mkdir()
        (folder / "__init__.py").write_text("")
    git(tmp_path, "add", "source")
    git(tmp_path, "commit", "-qm", "x")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit(source) == head
    assert commit(foreign) == "none", "an installed copy inside a foreign repository"
    (source / "__init__.py").write_text("1")
    assert commit(source) == f"{head}, changed since"


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(Path(__file__).parent) == "none"


def test_a_gpu_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "NVIDIA H100")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.version.cuda", "12.8")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 570.1\necho 570.1\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    found = environment()
    assert [found[key] for key in ("gpu", "gpus", "driver", "cuda")] == ["NVIDIA H100", 2, "570.1", "12.8"]
    monkeypatch.setenv("PATH", "")
    assert environment()["driver"] == "unknown"
