"""The commands retrain without a search, evaluate, zoo and spaces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from applications.nas.cli import main
from applications.nas.run_folder import write_config, write_json
from applications.nas.settings import SearchSettings
from applications.nas.space.zoo import ZOO

SMALL = ["--epochs", "1", "--batch", "300", "--layers", "3", "--channels", "2", "--seeds", "0", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")


def test_a_published_cell_without_a_search(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retrain", "digits", "--cell", "DARTS_V1", *SMALL, "data:digits", "--data.tasks", "loops"]) == 0
    assert "runs/retrain-1" in capsys.readouterr().out
    content = json.loads(Path("runs/retrain-1/results.json").read_text())
    assert (content["cell"], content["search"], len(content["trainings"])) == ("DARTS_V1", None, 1)
    assert main(["evaluate", "runs/retrain-1"]) == 0
    shown = capsys.readouterr().out
    assert f"{content['trainings'][0]['error']:.2f}" in shown
    assert "now" not in shown
    content["trainings"][0]["error"] += 0.5
    write_json(Path("runs/retrain-1/results.json"), content)
    assert main(["evaluate", "runs/retrain-1"]) == 0
    assert "loops, seed 0:" in capsys.readouterr().out


@pytest.mark.parametrize(("cell", "name"), [("random:3", "random"), ("torchvision:shufflenet_v2_x0_5",) * 2])
def test_rows_to_compare_with(cell: str, name: str) -> None:
    small = SMALL if cell == "random:3" else [*SMALL[:4], *SMALL[-4:]]
    assert main(["retrain", "digits", "--cell", cell, *small, "data:digits", "--data.tasks", "loops"]) == 0
    content = json.loads(Path("runs/retrain-1/results.json").read_text())
    assert (content["cell"], content["skips"] is None) == (name, name != "random")
    assert main(["evaluate", "runs/retrain-1"]) == 0


REFUSED = [
    (
        "retrain digits --cell DARTS_V1",
        "on which data? Give --run RUN for those of a search, or name them: data:digits",
    ),
    ("retrain digits data:digits", "which cell? Give --run RUN"),
    ("retrain digits --cell random: data:digits", "'random:' is no random:SEED"),
    ("retrain digits --cell nope data:digits", "published cells are NASNet-A"),
    ("retrain digits --cell torchvision:nope data:digits", "no classification network of torchvision has that name"),
    ("retrain digits --cell torchvision:resnet18 --channels 3 data:digits", "leave out --channels"),
    ("retrain digits --cell torchvision:resnet18 --drop-path 0.1 data:digits", "leave out --channels"),
    ("retrain digits --cell DARTS_V1 data:digits network:torchvision --model resnet18", "has no cell"),
    (
        "retrain digits --cell DARTS_V1 data:digits schedule:linear --epochs 4",
        "tail must be at least 0 and below epochs",
    ),
    ("retrain digits --cell DARTS_V1 data:digits network:imagenet --channels 3", "channels=3"),
    ("retrain digits --cell DARTS_V1 data:digits network:imagenet --auxiliary-norm", "auxiliary must be on"),
    ("retrain digits --cell DARTS_V1 data:digits --data.tasks slant --smoothing 0.1", "smoothing=0.1"),
    ("retrain cifar --cell DARTS_V1 data:digits", "auxiliary=True"),
    ("retrain digits --run", "--run"),
    ("evaluate", "name the folder of a retraining first"),
    ("evaluate --device cpu", "name the folder of a retraining first"),
    ("evaluate nope", "nope is no folder of a retraining"),
    ("zoo nope", "no published cell is called 'nope'"),
    ("zoo --out cell", "--out draws one cell"),
    ("spaces nope", "nope"),
]


@pytest.mark.parametrize(("words", "told"), REFUSED)
def test_refusals(words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    found = capsys.readouterr()
    assert told in found.err + found.out
    assert list(tmp_path.iterdir()) == []


def test_the_split_of_a_run_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_config(tmp_path, SearchSettings())
    assert main(["retrain", "digits", "--run", str(tmp_path), "--cell", "DARTS_V1", "--split-seed", "5"]) == 2
    assert "--split-seed mixes what the search kept apart" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["evaluate --help", "zoo --help", "spaces --help"])
def test_help(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 0
    assert words.split()[0] in capsys.readouterr().out


def test_the_zoo(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo"]) == 0
    shown = capsys.readouterr().out
    for told in (*ZOO, "3.35 M", "3.40 M", "528.36 M", "4.72 M", "529.91 M", "Liu, Simonyan, Yang, 2019"):
        assert told in shown
    assert main(["zoo", "PDARTS", "--out", "cell"]) == 0
    assert "2 = skip_connect(0) + dil_conv_3x3(1)" in capsys.readouterr().out
    assert Path("cell.svg").is_file()
    assert Path("cell.png").is_file()


def test_the_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    """Sizes of operations as measured on their own; cells by DARTS' count: (1 * 3 * 6 * 10 * 7 ** 8) ** 2."""
    assert main(["spaces"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]] for line in lines if "│" in line
    }
    assert rows["sep_conv_5x5"] == ["1,312", "1,376", "1,376", "1,343,488", "335,872"]
    assert rows["skip_connect"] == ["0", "0", "288", "0", "65,536"]
    assert rows["conv_7x1_1x7"] == ["3,584", "3,616", "3,616", "3,670,016", "1,376,256"]
    assert any("darts" in name and row[-1] == f"{float((180 * 7**8) ** 2):.2e}" for name, row in rows.items())
