"""What a report works out, as files and on the console."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from rich.console import Console

from applications.nas.cli import main
from applications.nas.report.claims import CLAIMS, read_claims
from applications.nas.report.evidence_csv import COMPARISONS, VERDICTS, comparisons_csv, verdicts_csv
from applications.nas.report.evidence_sheets import sheets
from applications.nas.report.sheet import print_sheet
from applications.nas.settings import Interleaving, SingleTask
from tests.nas.made_runs import made_retraining
from tests.nas.made_studies import BETTER, TASKS, made, weighed


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    runs = Path("runs")
    made(runs, Interleaving(), {0: [30.0], 1: [33.0]})
    made(runs, SingleTask("cifar10-mini"), {0: [31.0], 1: [33.5]}, tasks=TASKS[1:])
    made_retraining(runs / "r0", {"cifar10-mini": [40.0]}, cell="random", genotype="0")
    assert main(["report", "runs", "--out", "out"]) == 0
    shown = capsys.readouterr().out
    page, tex = (Path("out", name).read_text() for name in ("report.md", "report.tex"))
    for text in ("Comparisons: cifar10-mini, error %", "Against random cells of its size: cifar10-mini", "Claims"):
        assert text in shown
        assert f"## {text}" in page.replace("\\", "")
        assert text.replace("%", r"\%") in tex
    assert "| IL-DARTS-2nd | DARTS-2nd | paired t | 2 pairs | +0.75 | 0.35 |" in page
    assert tex.count("{") == tex.count("}")
    rows = {row["id"]: row for row in csv.DictReader(Path("out/verdicts.csv").read_text().splitlines())}
    assert rows.keys() == {claim.id for claim in read_claims(CLAIMS)}, "also what was not run"
    mine = rows["cifar10-darts2nd-single"]
    assert (mine["verdict"], mine["quoted"], mine["task"]) == ("not decidable at this scale", "0.14", "cifar10-mini")
    assert float(mine["difference"]) == pytest.approx(0.75)
    assert rows["cifar100-rounds"]["verdict"] == "not run"
    Path("mine.csv").write_text("id,sentence,kind,task,method,rival,source\nx,Is it?,same,digits,a,b,me\n")
    assert main(["report", "runs", "--out", "out", "--claims", "mine.csv"]) == 0
    assert "## Claims" not in Path("out/report.md").read_text(), "none was judged"
    assert [row["id"] for row in csv.DictReader(Path("out/verdicts.csv").read_text().splitlines())] == ["x"]
    assert main(["report", "runs", "--out", "elsewhere", "--claims", "nope.csv"]) == 2
    assert "nope.csv cannot be read as CSV" in capsys.readouterr().err
    assert not Path("elsewhere").exists()


def test_csv_files_hold_every_digit(tmp_path: Path) -> None:
    made(tmp_path, Interleaving(), {0: [30.0], 1: [33.0], 2: [31.7]})
    made(tmp_path, SingleTask("cifar10-mini"), {0: [31.0], 1: [33.5], 2: [32.0]}, tasks=TASKS[1:])
    evidence = weighed(tmp_path, [BETTER])
    rows = list(csv.DictReader(comparisons_csv(evidence).splitlines()))
    (verdict,) = csv.DictReader(verdicts_csv(evidence).splitlines())
    assert (tuple(rows[0]), tuple(verdict)) == (COMPARISONS, VERDICTS)
    (difference,) = [one.difference for one in evidence.comparisons]  # not once more for the claim
    for row in (rows[0], verdict):
        assert [float(row[name]) for name in ("difference", "sd", "low", "high", "effect", "hedges")] == [
            difference.mean,
            difference.deviation,
            difference.low,
            difference.high,
            difference.effect,
            difference.hedges,
        ]


def test_one_row_alone_has_nothing_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path / "runs", Interleaving(), {0: [30.0]})
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "Comparisons" not in shown
    assert "Claims" not in shown
    assert (tmp_path / "out" / "comparisons.csv").read_text() == ",".join(COMPARISONS) + "\n"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_console_shows_every_number(width: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also one that is too narrow for them; no number is cut, nor broken into lines."""
    for weight in (10.0, 20.0):
        made(tmp_path, Interleaving(weight=weight), {0: [30.0], 1: [33.0 + weight], 2: [31.0]})
    made(tmp_path, SingleTask("cifar10-mini"), {0: [32.0], 1: [35.5], 2: [31.0]}, tasks=TASKS[1:])
    made_retraining(tmp_path / "r0", {"cifar10-mini": [40.0]}, cell="random", genotype="0")
    found = sheets(weighed(tmp_path, [BETTER]))
    for sheet in found:
        print_sheet(sheet, Console(width=width))
    shown = capsys.readouterr().out
    numbers = [cell for sheet in found for row in sheet.rows for cell in row[sheet.left :]]
    assert len(found) == 3
    assert [cell for cell in numbers if cell not in shown] == []
    assert max(len(line) for line in shown.splitlines() if not line.startswith("- ")) <= max(width, 130)
