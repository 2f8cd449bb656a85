"""Every Python block in the documentation runs, page by page, in the order in which it is read."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_examples_run(page, capsys, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(tmp_path)  # what they write is not for this folder
    module = ModuleType("page")  # while it is imported, methods that it defines are known by name
    monkeypatch.setitem(sys.modules, "page", module)
    for index, block in enumerate(blocks(page)):
        exec(compile(block, f"{page.name}, block {index + 1}", "exec"), vars(module))


def test_the_first_problem_has_15_lines():
    first = blocks(ROOT / "docs" / "tutorial.md")[0]
    assert "mlo.Engine(" in first
    assert sum(bool(line.strip()) for line in first.splitlines()) <= 15


def test_there_are_examples():
    assert {"README.md", "tutorial.md", "interleaving.md"} <= {page.name for page in PAGES if blocks(page)}
