"""Each defect of another library is a small case with a known answer: ours is that answer, and the page shows it.

The cases are in `benchmarks/peers/`, one record each; `tests/test_peer_traps*.py` go on from there, over rules, sizes
and seeds.
"""

import os
import sys

import pytest
import torch

from benchmarks import peer_defects
from benchmarks.peers import page, theirs
from benchmarks.peers.record import Defect, show
from benchmarks.peers.table import DEFECTS

# Every defect that was reproduced by running the library's own code. A new one is added here first.
REPRODUCED = {
    "Betty": "B0 B1 B2 B3 B3b B3c B4 B5 B5b B5c B6 B7 B8 B8b B9 B9b B10 B11 B12 B13 B14 B15 B16 B16b B17 B18 B19 B20",
    "TorchOpt": "T1 T1b T1c T1d T2 T2b T3 T4 T4b T6 T7 T8 T9 T10 T11 T12 T13",
    "hypertorch": "H1 H1b H1c H2",
    "BOAT": "O1 O2 O3 O4 O5 O7",
    "higher": "U1 U2 U3 U4",
}


def close(value, truth, rel):
    """Compare as numbers where there are numbers; beside a truth of 0 the error allowed is absolute."""
    if isinstance(truth, tuple):
        return len(value) == len(truth) and all(close(v, t, rel) for v, t in zip(value, truth, strict=True))
    return value == (truth if isinstance(truth, str) else pytest.approx(truth, rel=rel, abs=rel))


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.id)
def test_ours_is_the_truth(defect):
    found = defect.ours()
    assert close(found, defect.truth, defect.rel), f"{defect.what}: {found} for {defect.truth}"


def test_every_reproduced_defect_has_one_row():
    rows = [(defect.peer, defect.id) for defect in DEFECTS]
    assert sorted(rows) == sorted((peer, row) for peer, ids in REPRODUCED.items() for row in ids.split())


def test_the_page_shows_what_is_computed():
    found = {defect.id: defect.ours() for defect in DEFECTS}
    _, between, _ = page.split(page.PAGE.read_text(encoding="utf-8"))
    assert between.strip() == page.generated(page.load(), found), "run benchmarks/peer_defects.py with --write"


def test_every_row_on_the_page_was_run_and_differs():
    run = page.load()
    assert set(run.versions) == set(REPRODUCED)
    shown = {defect.id: (show(run.values[defect.id]), show(defect.truth)) for defect in DEFECTS}
    assert [row for row, (answer, truth) in shown.items() if answer == truth] == ["B0"]  # what Betty does right


@pytest.mark.parametrize("row", REPRODUCED["TorchOpt"].split())
def test_torchopt_still_answers_as_the_page_says(row):
    run = page.load()
    if (theirs.version_of("TorchOpt"), torch.__version__) != (run.versions["TorchOpt"], run.torch):
        pytest.skip("another version of torchopt, or of torch, whose words some errors are, than on the page")
    assert show(theirs.value_of("TorchOpt", row)) == show(run.values[row])


def run_python(program, timeout=60.0):
    return peer_defects.answer([sys.executable, "-c", program], timeout, dict(os.environ))


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("print('noise'); print('value: [1.5, \"nan\"]')", (1.5, "nan")),
        ("print('value: \"\"')", ""),
        ("import os; os._exit(3)", "ended with status 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with status -9"),
        ("raise SystemExit('no value')", "ended with status 1"),
    ],
)
def test_a_crash_is_an_answer(program, expected):
    assert run_python(program) == expected


def test_a_hang_is_an_answer():
    assert run_python("import time; time.sleep(60)", timeout=0.3) == "no answer in 0.3 s"


def test_a_peer_that_is_not_there_is_not_run(monkeypatch):
    monkeypatch.setitem(theirs.PEERS, "Betty", ("no-such-thing", "no_such_thing", "__path__", "run_betty_more"))
    monkeypatch.setitem(theirs.PEERS, "hypertorch", ("hypertorch", "json", "CG", "run_hypertorch"))  # a namesake
    assert [theirs.installed(peer) for peer in ("Betty", "hypertorch", "TorchOpt")] == [False, False, True]


NOTHING_RUN = page.Run("2000-01-01", "0", "0", {}, {})


def test_what_was_not_run_is_shown_so():
    text = page.generated(NOTHING_RUN, {defect.id: defect.truth for defect in DEFECTS})
    assert text.count("| not run |") == len(DEFECTS)
    assert "## Betty (not run)" in text


def test_writing_the_page_changes_its_tables_only(monkeypatch, tmp_path):
    text = page.PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr(page, "PAGE", tmp_path / "peers.md")
    page.PAGE.write_text(text, encoding="utf-8")
    page.write(NOTHING_RUN, {defect.id: defect.truth for defect in DEFECTS})
    before, between, after = page.split(page.PAGE.read_text(encoding="utf-8"))
    assert (before, after) == (page.split(text)[0], page.split(text)[2])
    assert "not run" in between


def test_a_cell_cannot_break_its_table(monkeypatch):
    monkeypatch.setattr(page, "DEFECTS", (Defect("B99", "|a| <b>", "x|y", lambda: "x|y"),))
    text = page.generated(NOTHING_RUN, {"B99": "x|y"})
    assert "| B99 | \\|a\\| &lt;b> | x\\|y | x\\|y | not run | |" in text


def test_an_error_of_theirs_is_an_answer(monkeypatch):
    def spoilt():
        raise KeyError("params")

    rows = {"bad": spoilt, "nan": lambda: (float("nan"), 1.0)}
    monkeypatch.setattr(theirs, "adapters", lambda peer: rows)
    assert theirs.value_of("Betty", "bad") == "KeyError: 'params'"
    assert theirs.value_of("Betty", "nan") == ("nan", 1.0)  # JSON has no NaN


@pytest.mark.parametrize(
    ("value", "text"), [(-0.0, "0"), (1e-12, "0"), (-2.0000000000000053, "-2"), ((0.5,), "0.5"), ((1.0, "a"), "(1, a)")]
)
def test_rounding_errors_are_not_shown(value, text):
    assert show(value) == text
