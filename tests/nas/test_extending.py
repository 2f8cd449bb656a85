"""The search method of docs/extending-search.md, installed as a package by itself, and in the script that stands in.

The code is read from the page, so that the page is what is tested.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from applications.nas.cli import main
from applications.nas.search import record as search_record

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--supernet.nodes", "1", "--supernet.layers", "3", "--supernet.channels", "4", "--batch", "256"]
SMALL += ["--supernet.primitives", "none", "skip_connect", "max_pool_3x3", "formulation:single", "--epochs", "2"]


def block(begins: str) -> str:
    """Return the one block of code on the page that begins so."""
    page = (ROOT / "docs" / "extending-search.md").read_text(encoding="utf-8")
    found = re.findall(r"^```(?:python|py)\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    (one,) = [code for code in found if code.startswith(begins)]
    return one


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(search_record, "draw_search", lambda *_: ([], []))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Lay the module where an installer lays it, with its entry point beside it."""
    site = tmp_path / "site"
    about = site / "gumbel_search-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "gumbel_search.py").write_text(block("# gumbel_search.py"))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: gumbel-search\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[mlo_nas.methods]\ngumbel = gumbel_search\n")
    monkeypatch.syspath_prepend(site)
    yield
    sys.modules.pop("gumbel_search", None)


def test_an_installed_method_searches(installed: None, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", "digits", "method:gumbel", "--method.hot", "3", *SMALL, "--gradient.rule", "difference"]
    assert main(words) == 0
    config = json.loads(Path("runs/digits-1/config.json").read_text())
    assert config["method"] == {"kind": "Gumbel", "hot": 3.0, "cold": 0.5}
    assert len(json.loads(Path("runs/digits-1/genotypes.json").read_text())) == 2, "one for each epoch"
    assert main(["search", "digits", "method:gumbel", "--help"]) == 0
    assert "Temperature of the first epoch" in capsys.readouterr().out


def test_its_refusal_is_one_line(installed: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "digits", "method:gumbel", "--method.cold", "9"]) == 2
    told = capsys.readouterr().err
    assert told == "error: method: cold=9.0 must be positive and at most hot=5.0\n"
    assert not Path("runs").exists()


def test_the_search_from_python(capsys: pytest.CaptureFixture[str]) -> None:
    space: dict[str, Any] = {"__name__": "page"}
    for begins in ("# gumbel_search.py", "from pathlib"):
        exec(compile(block(begins), begins, "exec", dont_inherit=True), space)
    assert "normal" in capsys.readouterr().out
    assert Path("runs/gumbel/README.md").exists()


def test_the_script_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("gumbel_search.py", "my_nas.py"):
        (tmp_path / name).write_text(block(f"# {name}"))
    monkeypatch.syspath_prepend(tmp_path)  # as python does with the folder of a script
    monkeypatch.setattr(sys, "argv", ["my_nas.py", "search", "digits", "method:nope"])
    monkeypatch.delitem(sys.modules, "gumbel_search", raising=False)
    with pytest.raises(SystemExit) as end:
        runpy.run_path("my_nas.py", run_name="__main__")
    assert end.value.code == 2
    assert "method:gumbel" in capsys.readouterr().err
    assert sys.modules.pop("gumbel_search").Gumbel.title == "Gumbel"
