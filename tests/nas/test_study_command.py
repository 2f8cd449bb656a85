"""`mlo-nas sweep STUDY`: its words, what it refuses, and what it tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from applications.nas.cli import main
from applications.nas.commands import sweep as command
from applications.nas.config_file import to_json
from applications.nas.presets.scales import SCALES
from applications.nas.settings import CifarForm, FolderData
from applications.nas.sweep.studies import STUDIES, make_study
from applications.nas.sweep.study import StudySettings


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[StudySettings, Path, int]]:
    found: list[tuple[StudySettings, Path, int]] = []
    monkeypatch.setattr(
        command, "sweep", lambda one, folder, _, launcher, reuse: found.append((one, folder, launcher.workers, *reuse))
    )
    return found


def test_words(asked: list[tuple[StudySettings, Path, int]]) -> None:
    words = "--scale gpu --seeds 3 4 --data.roots a b --supernet.channels 8 --formulation.weight 7 --workers 2"
    words += " --retrain.epochs 9 --pdarts.deeper 0 2 4 --pdarts-epochs 3 --pcdarts.portion 2 --random 1"
    assert main(["sweep", "evidence-table", *words.split()]) == 0
    ((study, folder, workers),) = asked
    assert (folder, workers) == (Path("runs/evidence-table-gpu-1"), 2)
    assert (study.name, study.scale, study.seeds, study.random) == ("evidence-table", "gpu, changed", (3, 4), 1)
    assert study.retrain.epochs == 9
    assert study.retrain.network == CifarForm(channels=16, layers=8)
    parts = {part.name: part for part in study.parts}
    assert {part.search.supernet.channels for part in study.parts} == {8}
    assert parts["P-DARTS multi"].search.stages()[2].layers == 9
    assert parts["P-DARTS multi"].search.epochs == 3
    assert parts["PC-DARTS single"].search.method.portion == 2  # type: ignore[attr-defined]
    assert parts["DARTS-1st interleaving"].search.formulation.weight == 7.0  # type: ignore[union-attr]
    assert parts["DARTS-1st single"].axes[0].values == ("a", "b")


def test_a_scale_keeps_its_name_on_other_folders_and_seeds(asked: list[tuple[StudySettings, Path, int]]) -> None:
    assert (
        main(["sweep", "evidence-order", "--data.roots", "a", "b", "--seeds", "0", "--workers", "2", "--out", "mine"])
        == 0
    )
    ((study, folder, _),) = asked
    assert (study.scale, folder) == ("cpu", Path("mine")), "the smallest is what is taken if none is named"
    data = study.parts[0].search.data
    assert isinstance(data, FolderData)
    assert data.roots == (Path("a"), Path("b"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--scale", "--scale names no scale: the scales are cpu, gpu, paper"),
        ("--scale huge", "--scale huge: the scales are cpu, gpu, paper"),
        ("--seed 3", "--seed is set by the study for each of its parts: give --seeds"),
        ("method:pdarts", "method is set by the study"),
        ("--gradient.rule exact", "--gradient.rule is set by the study"),
        ("formulation:multi", "formulation must be an interleaving: single and multi come with the study"),
        ("--seeds 0 0", "seeds must be distinct"),
        ("--vary seed 0", "--vary"),
        ("--retrain digits", "--retrain"),
        ("--data.roots a", "interleaving needs two tasks or more"),
        ("--data.roots nowhere other", "nowhere"),
        ("--formulation.weight -1", "weight must not be negative"),
    ],
)
def test_refusals(words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "evidence-table", *words.split()]) == 2
    found = capsys.readouterr()
    assert told in found.err + found.out
    assert "Traceback" not in found.err
    assert list(tmp_path.iterdir()) == [], "nothing is left of a request that never began"


def test_a_dry_run_lists_the_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "evidence-table", "--seeds", "0", "1", "--dry-run", "--workers", "2"]) == 0
    shown = capsys.readouterr().out
    assert "38 points, of which 0 are finished; each is a search or a random cell, trained 1 time on each task" in shown
    assert "\n  P-DARTS interleaving: 2 points, 0 finished\n" in shown
    first, second = shown.index("\n  random-2\n"), shown.index("\n  darts-1st-single,task=cifar100-mini,seed=1\n")
    assert first < second, "seed by seed"
    assert "launched: 2 at a time, in worker processes of this program" in shown
    assert list(tmp_path.iterdir()) == []


def test_a_study_goes_on_by_its_folder(tmp_path: Path, asked: list[tuple[StudySettings, Path, int]]) -> None:
    study = make_study("evidence-rule", SCALES["cpu"][1], "cpu")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sweep.json").write_text(to_json(study))
    assert main(["sweep", "--resume", "mine", "--workers", "2"]) == 0
    assert asked == [(study, Path("mine"), 2)]


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--help"]) == 0
    shown = capsys.readouterr().out
    for name, study in STUDIES.items():
        assert name in shown
        assert study.about in shown
    assert main(["sweep", "evidence-lambda", "--help"]) == 0
    shown = capsys.readouterr().out
    assert STUDIES["evidence-lambda"].about in shown
    for name, (text, _) in SCALES.items():
        assert f"    {name}" in shown
        assert text in shown
    for option in ("--seeds", "--retrain.epochs", "--pdarts.deeper", "--supernet.channels", "--workers", "--out"):
        assert option in shown
