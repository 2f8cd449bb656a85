"""What every kind of fuzz shares: how many cases, and what counts as a pass.

A case passes if it gives a result, or an error of `mlo.errors` whose one line is readable; through the command line, if
it exits with 0, or with 2, one line, and nothing left behind. `MLO_FUZZ=20000` runs so many cases instead of the fixed
share of the suite; the drawing is the same in each run.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from applications.nas.cli import main
from applications.nas.refusal import as_line
from mlo import MLOError

SHARES = {
    "configs": 600,
    "settings": 600,
    "genotypes": 500,
    "graphs": 300,
    "arrays": 150,
    "data folders": 100,
    "command lines": 90,
    "run folders": 50,
    "whole runs": 3,
}
"""Cases of each kind in the suite; a longer run keeps the proportions."""
TOTAL = int(os.environ.get("MLO_FUZZ", "0"))
LONGEST = 60.0  # seconds of a case: far above what one takes, on a machine that is busy
_LINE = 720
TALLY: dict[str, Counter[str]] = {kind: Counter() for kind in SHARES}


def cases(kind: str, part: float = 1.0) -> Callable[[Any], Any]:
    """Decorate a property: how many cases it is given; `part` is its share of the kind."""
    share = SHARES[kind] * (TOTAL / sum(SHARES.values()) if TOTAL else 1.0)
    calm = [
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
        HealthCheck.large_base_example,
    ]

    def decorate(test: Any) -> Any:
        limit = settings(max_examples=max(1, round(share * part)), derandomize=True, deadline=None, database=None)
        return pytest.mark.timeout(100_000 if TOTAL else 300)(settings(limit, suppress_health_check=calm)(test))

    return decorate


def attempt(kind: str, call: Callable[[], Any]) -> tuple[Any, MLOError | None]:
    """Return the result of a call, or its error if it is a documented one; anything else is a failure."""
    started = time.monotonic()
    result, refused = None, None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            result = call()
        except MLOError as error:
            refused = error
            check_line(as_line(error))
    TALLY[kind]["results" if refused is None else "errors"] += 1
    assert time.monotonic() - started < LONGEST, "the case takes too long"
    return result, refused


def check_line(line: str) -> None:
    """An error of one line, which says something and can be read."""
    assert line.isprintable(), line
    assert 12 < len(line) <= _LINE, line


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Work in a new empty folder."""
    before = Path.cwd()
    with TemporaryDirectory(prefix="fuzz-") as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def tree(folder: Path) -> dict[str, int]:
    """All that is in a folder, with sizes; links are not followed."""
    found = {}
    for place, below, files in os.walk(folder):
        for name in (*below, *files):
            path = Path(place, name)
            found[str(path)] = -1 if path.is_dir() else path.lstat().st_size
    return found


def command(kind: str, words: list[str], folder: Path, *, begins: bool = False) -> int:
    """Run a command line in a folder; check its exit code, what it says, and what it leaves.

    Where work really begins, a run that fails later may leave its folder, if that says why, and the error names it.
    """
    before, started = tree(folder), time.monotonic()
    out, err = io.StringIO(), io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        warnings.simplefilter("error")
        code = main(words)
    said = err.getvalue()
    TALLY[kind]["errors" if code else "results"] += 1
    assert time.monotonic() - started < LONGEST, "the case takes too long"
    assert code in (0, 2), (words, code, said)
    if code == 2:
        assert said.startswith("error: "), (words, said)
        assert said.endswith("\n"), (words, said)
        check_line(said[:-1])
        left = {name for name in tree(folder) if name not in before}
        if begins and left:
            assert "what was done until then is in" in said, (words, said)
            assert any(name.endswith("failure.txt") for name in left), left
            return code
        assert "run folder" not in out.getvalue(), (words, "it names a folder that is not there")
        assert tree(folder) == before, (words, said)
    return code
