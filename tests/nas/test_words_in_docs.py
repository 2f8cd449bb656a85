"""Commands and options that stand within sentences and tables have the names that the program knows."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest

from applications.nas.cli import COMMANDS, main
from applications.nas.presets import RETRAIN, SEARCH
from applications.nas.sweep.studies import STUDIES
from tests.markdown import code_spans, name_of, pages, prose

INDENTED = re.compile(r"^    (?:\$ |(?:python|pip|make|git|torchrun|mlo-nas) ).*", flags=re.MULTILINE)
PRESETS = {"search": SEARCH, "sweep": {**SEARCH, **STUDIES}, "retrain": RETRAIN}
HELP = (
    *("search digits", "search digits data:folders", "search darts-2nd-paper data:imagenet", "search pdarts-paper"),
    *("search darts-2nd-paper formulation:single", "retrain digits", "retrain cifar network:torchvision"),
    *("retrain cifar schedule:linear", "retrain cifar schedule:exponential", "sweep digits launcher:slurm"),
    *("report", "evaluate", "draw", "demo"),
)
"""What tells of its options, together of all."""
BY_HAND = {"--config", "--resume", "--dry-run", "--vary", "--help"}
"""Options that `mlo-nas --help` and the help of a sweep tell of, or that are read before any other."""
OTHERS = {"--method.hot", "--method.sharpness", "--darts.gradient"}
"""Those of methods that a page writes, and one that the list of changes says is gone."""


def misnamed(span: str) -> bool:
    """Tell whether a span of code is a command of `mlo-nas` that has no such command or preset."""
    words = [*span.split(), "", ""]
    if words[0] != "mlo-nas" or words[1].startswith("-"):
        return False
    known = PRESETS.get(words[1])
    preset = known is None or not re.fullmatch(r"[a-z][\w-]*", words[2]) or words[2] in known
    return words[1] not in ("", *COMMANDS) or not preset


def options(span: str) -> set[str]:
    """Return the options in a span that are ours: those behind `mlo-nas`, and those with a dot, which are settings."""
    found = set(re.findall(r"(?<!\S)--[a-z][\w.-]*\w", span))
    return found if span.startswith("mlo-nas ") else {one for one in found if "." in one}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_the_commands_of_sentences(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert INDENTED.findall(prose(text)) == [], "no test runs these: put them into a fence `sh`"
    assert [span for span in code_spans(text) if misnamed(span)] == []


def test_the_options_of_sentences(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    for words in HELP:
        with suppress(SystemExit):
            main([*words.split(), "--help"])
    known = set(re.findall(r"--[\w.-]+", capsys.readouterr().out)) | BY_HAND | OTHERS
    told = {one: name_of(page) for page in pages() for s in code_spans(page.read_text("utf-8")) for one in options(s)}
    assert {one: page for one, page in told.items() if one not in known} == {}
    assert len(told) > 30


def test_what_is_wrong_is_seen() -> None:
    wrong = ["mlo-nas serach digits", "mlo-nas search digit", "mlo-nas retrain darts-2nd-paper --run x"]
    right = ["mlo-nas search ... --deterministic", "mlo-nas sweep", "mlo-nas zoo", "mlo-nas report runs", "search nope"]
    assert [span for span in wrong + right if misnamed(span)] == wrong
    assert options("mlo-nas search x --epoch 3 --data.root y") == {"--epoch", "--data.root"}
    assert options("--batch_size") == set()
    assert INDENTED.findall("text\n\n    python -m examples.figures\n") == ["    python -m examples.figures"]
