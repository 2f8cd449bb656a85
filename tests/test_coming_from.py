"""The code of other libraries in docs/coming-from.md is only shown: here it is read, and its lines are counted."""

import ast
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "coming-from.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|py)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
THEIRS = [code for kind, code in BLOCKS if kind == "py"]
OURS = next(code for kind, code in BLOCKS if kind == "python" and "def fit" in code)
MARKS = {"ours": "mlo", "higher": "higher", "TorchOpt": "MetaSGD", "Betty": "betty", "BOAT": "boat_torch"}


def lines(code):
    return sum(bool(line.strip()) and not line.startswith(("import ", "from ")) for line in code.splitlines())


@pytest.mark.parametrize("name", MARKS)
def test_the_table_counts_what_is_shown(name):
    (code,) = [code for code in [OURS, *THEIRS] if MARKS[name] in code]
    ast.parse(code)
    (said,) = re.findall(rf"^\| {name}[ .\d]*\| (\d+) \|$", PAGE, flags=re.MULTILINE)
    assert lines(code) == int(said)


def test_ours_is_the_shortest():
    assert lines(OURS) < min(map(lines, THEIRS))
