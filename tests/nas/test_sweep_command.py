"""`mlo-nas sweep`: its words, what it refuses, and a sweep in real processes that a report then reads."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from applications.nas.cli import main
from applications.nas.commands import sweep as command
from applications.nas.presets import RETRAIN, SEARCH
from applications.nas.settings import MultiTask
from applications.nas.sweep.plan import Axis, SweepSettings

TINY = "--supernet.nodes 1 --supernet.channels 2 --epochs 1 --batch 300 --retrain digits"
TINY += " --retrain.epochs 1 --retrain.channels 2 --retrain.batch 300 --retrain.seeds 0"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[SweepSettings, Path, int]]:
    found: list[tuple[SweepSettings, Path, int]] = []
    monkeypatch.setattr(
        command, "sweep", lambda one, folder, _, launcher, reuse: found.append((one, folder, launcher.workers, *reuse))
    )
    return found


def test_words(asked: list[tuple[SweepSettings, Path, int]]) -> None:
    words = "--vary formulation.weight 0.1 1 --epochs 3 --vary seed 0 1 --retrain digits --retrain.epochs 2 --workers 2"
    assert main(["sweep", "digits", *words.split()]) == 0
    settings, folder, workers = asked[0]
    assert settings.axes == (Axis("formulation.weight", ("0.1", "1")), Axis("seed", ("0", "1")))
    assert settings.search.epochs == 3
    assert settings.search.formulation == SEARCH["digits"][1].formulation
    assert settings.retrain is not None
    assert settings.retrain.epochs == 2
    assert settings.retrain.network == RETRAIN["digits"][1].network
    assert (folder, workers) == (Path("runs/sweep-digits-1"), 2)


def test_choices_stand_anywhere(asked: list[tuple[SweepSettings, Path, int]]) -> None:
    words = (
        "digits --batch 8 formulation:multi --vary seed 0",
        "darts-2nd-paper --out here --vary data.classes 10 100,10",
    )
    for given in words:
        assert main(["sweep", *given.split()]) == 0
    assert isinstance(asked[0][0].search.formulation, MultiTask)
    assert asked[0][0].search.batch == 8
    assert asked[0][0].retrain is None
    assert asked[1][1] == Path("here")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "name a preset first"),
        ("nope --vary seed 0", "'nope' is none"),
        ("digits", "nothing is varied: give --vary FIELD VALUE"),
        ("digits --vary", "--vary names no field"),
        ("digits --vary seed", "--vary seed has no value"),
        ("digits --vary seed 0 x", "seed: 'x' is no whole number"),
        ("digits --vary weights.lr -1", "lr must be positive, got lr=-1.0"),
        ("digits --vary nope 1", "SearchSettings has no field 'nope'"),
        ("digits --vary seed 0 formulation:multi", "seed: 'formulation:multi' is no whole number"),
        ("digits --vary seed 0 --retrain", "--retrain names no preset: the presets are digits"),
        ("digits --vary seed 0 --retrain nope", "--retrain nope: the presets are digits"),
        ("digits --vary seed 0 --retrain.epochs 3", "--retrain.epochs changes a retraining, and there is none"),
        ("digits --vary=nope 1", "SearchSettings has no field 'nope'"),
        ("digits --vary seed 0 --workers 0", "workers must be at least 1, got 0"),
        ("digits --vary seed 0 --nope", "--nope"),
        ("--resume nowhere", "nowhere/sweep.json cannot be read: give the folder of a sweep"),
        ("--resume nowhere --vary seed 0", "--vary"),
        ("darts-2nd-paper --vary seed 0", "no complete CIFAR"),
    ],
)
def test_refusals(words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", *words.split()]) == 2
    found = capsys.readouterr()
    assert told in found.err + found.out
    assert "Traceback" not in found.err
    assert list(tmp_path.iterdir()) == [], "nothing is left of a request that never began"


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("sweep --help", "sweep digits --help", "sweep digits --retrain digits --help"):
        assert main(words.split()) == 0
        shown = capsys.readouterr().out
        assert "--vary FIELD VALUE..." in shown
        assert "--resume DIR" in shown
    assert "--retrain.epochs" in shown
    assert "formulation:single | formulation:multi | formulation:interleaving" in shown


@pytest.mark.timeout(120)  # a hang is a failure
def test_a_sweep_in_processes_and_its_report(capsys: pytest.CaptureFixture[str]) -> None:
    """One point cannot work (equation 7 diverges at c = 5): the other is searched, retrained and reported."""
    words = f"sweep digits --vary formulation.weight 1 100 --formulation.form explicit {TINY}".split()
    assert main(words) == 2
    shown = capsys.readouterr()
    assert "sweep: 1 of 2 points failed: weight=100 (" in shown.err
    assert "c = 2*eta*lambda = 2*0.025*100 = 5" in shown.err
    assert "the whole sweep: 2/2, 0 s left; 1 failed" in shown.out
    folder = Path("runs/sweep-digits-1")
    assert "c = 2*eta*lambda" in (folder / "weight=100/failure.txt").read_text()
    assert json.loads((folder / "weight=1/retrain/results.json").read_text())["search"] == ".."
    (row, failed) = csv.DictReader((folder / "table.csv").read_text().splitlines())
    assert 0 <= float(row["digits: test error % mean"]) <= 100
    assert failed["digits: test error % mean"] == ""

    before = {path: path.stat().st_mtime_ns for path in (folder / "weight=1").rglob("*")}
    assert main(words) == 2, "the same command finds its folder, and tries again what failed"
    assert "1 of 2 points are finished already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (folder / "weight=1").rglob("*")} == before

    assert main(["report", "runs"]) == 0
    shown = capsys.readouterr()
    assert "weight=100: it failed: " in shown.out
    lines = list(csv.DictReader(Path("report/report.csv").read_text().splitlines()))
    assert [(line["task"], line["origin"]) for line in lines] == [("digits", "measured"), ("loops", "measured")]
    assert float(lines[0]["mean"]) == float(row["digits: test error % mean"])
    assert lines[0]["method"].startswith("IL-DARTS-")
    assert lines[0]["search_device"] == "CPU"
