"""Command lines with slips: a result, or one line and exit code 2, and no folder where none was."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from applications.nas.presets import SEARCH
from tests.fuzz.harness import cases, command, scratch
from tests.fuzz.lines import lines
from tests.fuzz.stops import stopped
from tests.nas.made_runs import made_search

__all__ = ["stopped"]


@pytest.mark.usefixtures("stopped")
@cases("command lines")
@given(words=lines())
def test_a_command_line_with_slips(words: list[str]) -> None:
    with scratch() as folder:
        made_search(Path("run"), SEARCH["digits"][1])
        Path("mine.csv").write_text("nothing")
        command("command lines", words, folder)
