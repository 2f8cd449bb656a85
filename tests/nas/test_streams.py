"""A command whose streams are closed, or are no longer read, in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from applications.nas import cli

ROOT = Path(__file__).resolve().parents[2]
LATER = """
import os, signal, sys
from applications.nas import __main__, cli
from applications.nas.stopping import Stopped, stoppable

def talk(words, console):
    console.print("first")
    input_ended = sys.stdin is None or sys.stdin.read()
    file = open(words[0], "w")
    with stoppable() as stopper:
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(9):
            console.print("more")
        file.write("all is kept")
        file.close()
        raise Stopped("told", stopper.number)

cli.COMMANDS["talk"] = talk
sys.exit(__main__.main())
"""


def begun(file: Path, **streams: object) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", LATER, "talk", str(file)]
    return subprocess.Popen(words, cwd=ROOT, **streams)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("both", [True, False], ids=["2>&1 | tee", "| tee"])
def test_nobody_reads_any_more(tmp_path: Path, both: bool) -> None:
    """As when Ctrl-C ends the `tee` behind a search before the search itself."""
    pipe = subprocess.PIPE
    with begun(tmp_path / "kept", stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT if both else pipe) as job:
        assert job.stdout is not None
        assert job.stdin is not None
        assert job.stdout.readline() == b"first\n"
        job.stdout.close()
        job.stdin.close()
        assert job.wait(60) == 143
        if not both:
            assert job.stderr is not None
            assert job.stderr.read() == b"stopping after this step, which is kept; once more to stop at once\ntold\n"
    assert (tmp_path / "kept").read_text() == "all is kept"


def test_all_streams_are_closed(tmp_path: Path) -> None:
    def close() -> None:
        for number in range(3):
            os.close(number)

    with begun(tmp_path / "kept", preexec_fn=close) as job:
        assert job.wait(60) == 143
    assert (tmp_path / "kept").read_text() == "all is kept", "no message went into the file"


def test_help_that_nobody_reads_to_the_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def written(words: list[str], console: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    hushed: list[bool] = []
    monkeypatch.setitem(cli.COMMANDS, "draw", written)
    monkeypatch.setattr(cli, "hush", lambda: hushed.append(True))
    assert (cli.main(["draw", "--help"]), hushed) == (0, [True])
    assert capsys.readouterr().err == ""
    assert cli.main(["draw", "x"]) == 2, "elsewhere it is an error"
