"""The plots of the documentation show what the benchmarks have stored."""

import importlib
import sys
from pathlib import Path

import matplotlib
import pytest

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "figures"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs" / "draw")
    for name in ("style", "overview", "plots"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with matplotlib.rc_context():  # `style` sets how all figures of a process look
        yield importlib.import_module
    for name in ("style", "overview", "plots"):
        sys.modules.pop(name, None)


def test_each_picture_is_on_a_page():
    text = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    files = [path.relative_to(FIGURES).as_posix() for path in FIGURES.rglob("*") if path.is_file()]
    assert [name for name in files if f"figures/{name})" not in text] == []


@pytest.mark.parametrize("name", ["overview", "peers", "supernet", "whole_step", "floor"])
def test_a_picture_is_what_its_script_draws(name, scripts, tmp_path):
    script = scripts("overview" if name == "overview" else "plots")
    drawn = scripts("style").write(getattr(script, name)(), name, tmp_path)
    stored = FIGURES / f"{name}.svg"
    assert drawn.read_bytes() == stored.read_bytes(), f"{stored.relative_to(ROOT)} is not up to date: make pictures"
