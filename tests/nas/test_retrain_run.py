"""The folder of a retraining, and its networks tested again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from applications.nas.cli import main
from applications.nas.data import split_records
from applications.nas.progress import Tick, silent
from applications.nas.retrain import Training
from applications.nas.retrain import run as module
from applications.nas.retrain.folder import evaluate_again, read_retrain_folder
from applications.nas.retrain.run import retrain_run
from applications.nas.run_folder import write_json
from applications.nas.sealed import write_sealed
from applications.nas.settings import CifarForm, DigitsData, RetrainSettings, RetrainWeights, SearchSettings
from applications.nas.space.zoo import ZOO
from applications.nas.tasks import load_tasks
from mlo import ConfigError, DataError

CELL = ZOO["DARTS_V1"]
SETTINGS = RetrainSettings(
    network=CifarForm(2, 3), epochs=1, batch=300, weights=RetrainWeights(lr=0.1), ema=0.5, seeds=(0, 4), device="cpu"
)
SEARCHED = SearchSettings(data=DigitsData(("digits", "slant")), seed=3)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")


def begin(label: str) -> Tick:
    return silent


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a retraining on two tasks with two seeds; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("trained") / "retrain"
    folder.mkdir()
    retrain_run(CELL, "V1", SEARCHED, SETTINGS, folder, begin, search=folder.parent)
    return folder


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    (tmp_path / "copy").mkdir()
    for file in trained.iterdir():
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    return tmp_path / "copy"


# ---------------------------------------------------------------- what is written


def test_the_results(trained: Path) -> None:
    content = json.loads((trained / "results.json").read_text())
    assert {key: content[key] for key in ("kind", "cell", "search", "skips")} == {
        "kind": "retrain",
        "cell": "V1",
        "search": "..",
        "skips": 6,
    }
    keys = {"task", "metric", "seed", "error", "top5", "parameters", "multiply_adds", "seconds", "tested"}
    assert all(set(one) == keys for one in content["trainings"])
    runs = [(one["task"], one["seed"], one["metric"], one["top5"] is None) for one in content["trainings"]]
    assert runs == [
        *(("digits", seed, "error %", False) for seed in (0, 4)),
        *(("slant", seed, "RMSE", True) for seed in (0, 4)),
    ]


def test_the_folder_explains_itself(trained: Path) -> None:
    text = (trained / "README.md").read_text()
    for told in (
        "Retraining of V1",
        "(1 epoch)",
        "moving average of the weights (0.5)",
        "| slant | RMSE |",
        "2 seeds",
    ):
        assert told in text
    page = (trained / "index.html").read_text()
    for picture in ("cell.svg", "curves-digits.svg", "curves-slant.svg"):
        assert f'<img src="{picture}"' in page
    names = {path.name for path in trained.iterdir()}
    expected = {"README.md", "index.html", "config.json", "data.json", "environment.json", "genotype.json"}
    expected |= {f"{stem}.{end}" for stem in ("cell", "curves-digits", "curves-slant") for end in ("svg", "png")}
    expected |= {f"{task}-{seed}.{end}" for task in ("digits", "slant") for seed in (0, 4) for end in ("csv", "pt")}
    assert names == expected | {"results.json"}


def test_nothing_is_written_of_what_does_not_fit(tmp_path: Path) -> None:
    wrong = replace(SETTINGS, network=CifarForm(2, 3, auxiliary=True))
    (tmp_path / "new").mkdir()
    with pytest.raises(ConfigError, match="auxiliary=True"):
        retrain_run(CELL, "V1", SEARCHED, wrong, tmp_path / "new", begin)
    assert list((tmp_path / "new").iterdir()) == []


def test_data_that_changed_since_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search, folder = tmp_path / "search", tmp_path / "search/retrain"
    folder.mkdir(parents=True)
    write_json(search / "splits.json", split_records(load_tasks(SEARCHED.data, SEARCHED.seed)))
    monkeypatch.setattr(module.Several, "train", lambda *_: ())
    retrain_run(CELL, "V1", SEARCHED, SETTINGS, folder, begin, search=search)
    with pytest.raises(DataError, match=r"task 'digits', train: .* not those that the search had"):
        retrain_run(CELL, "V1", replace(SEARCHED, seed=4), SETTINGS, folder, begin, search=search)
    fewer = replace(SEARCHED, data=DigitsData(("digits",)))
    with pytest.raises(DataError, match=r"task 'digits', train: .*the search had") as caught:
        retrain_run(CELL, "V1", fewer, SETTINGS, folder, begin, search=search)
    assert "instead of --run" in caught.value.__notes__[0]
    other = replace(SEARCHED, data=DigitsData(("loops",)), seed=4)
    retrain_run(CELL, "V1", other, SETTINGS, folder, begin, search=search)  # no task of the search
    (search / "splits.json").write_text("{")
    with pytest.raises(DataError, match=r"splits\.json is not JSON"):
        retrain_run(CELL, "V1", SEARCHED, SETTINGS, folder, begin, search=search)


# ---------------------------------------------------------------- tested again


def timeless(trainings: tuple[Training, ...]) -> list[Training]:
    return [replace(one, seconds=0.0) for one in trainings]


def test_the_same_networks_give_the_same_numbers(trained: Path) -> None:
    read = read_retrain_folder(trained)
    assert (read.name, read.genotype, read.settings, read.source.seed) == ("V1", CELL, SETTINGS, 3)
    again = evaluate_again(read, read.source.data, "cpu", begin)
    assert timeless(again) == timeless(read.trainings)


def test_weights_decide(copied: Path) -> None:
    """What evaluate prints comes from the weights, not from results.json."""
    content = json.loads((copied / "results.json").read_text())
    content["trainings"][0] |= {"error": 1.0, "parameters": 1, "tested": 1}
    write_json(copied / "results.json", content)
    read = read_retrain_folder(copied)
    now = evaluate_again(read, read.source.data, "cpu", begin)[0]
    assert now.error > 10
    assert now.parameters > 500
    assert now.tested > 200


def foreign(path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, path)


def of_another(path: Path) -> None:
    write_sealed(path, {"weight": torch.zeros(2)})


def running_code(path: Path) -> None:
    torch.save({"weight": Path}, path)


SPOILED: list[tuple[str, Callable[[Path], object], str]] = [
    ("digits-4.pt", Path.unlink, r"digits-4\.pt is missing"),
    ("digits-4.pt", lambda path: path.write_bytes(b""), "is not what was written"),
    ("digits-4.pt", lambda path: path.write_bytes(path.read_bytes()[:1000]), "is not what was written"),
    ("digits-4.pt", lambda path: path.write_text("weights"), "is not what was written"),
    ("digits-4.pt", running_code, "is not what was written"),
    ("digits-4.pt", foreign, "is not what was written"),
    ("digits-4.pt", of_another, "holds the weights of another network"),
    ("digits-4.pt", lambda path: write_sealed(path, [1]), "holds the weights of another network"),
    ("genotype.json", lambda path: path.write_text(ZOO["PDARTS"].to_json()), "holds the weights of another network"),
    ("genotype.json", Path.unlink, "genotype"),
    ("config.json", Path.unlink, r"config\.json cannot be read"),
    ("config.json", lambda path: path.write_text('{"epochs": 0}'), "epochs must be at least 1"),
    ("data.json", lambda path: path.write_text('{"kind": "RetrainSettings"}'), "'RetrainData' does"),
    ("data.json", lambda path: path.write_text("{"), "is not JSON"),
    ("results.json", Path.unlink, "the retraining has not finished"),
    ("results.json", lambda path: path.write_text("[]"), "holds no JSON object"),
    ("results.json", lambda path: path.write_text("{"), "is not JSON"),
    ("results.json", lambda path: path.write_text('{"kind": "search"}'), "is not that of a retraining"),
    ("results.json", lambda path: path.write_text('{"kind": "retrain", "cell": "x"}'), "is not what a retraining"),
    (
        "results.json",
        lambda path: path.write_text('{"kind": "retrain", "cell": "x", "trainings": [{"task": 1}]}'),
        "is not what a retraining",
    ),
]


@pytest.mark.parametrize(("name", "spoil", "told"), SPOILED)
def test_spoiled_files(
    name: str, spoil: Callable[[Path], object], told: str, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(copied / name)
    assert main(["evaluate", str(copied)]) == 2
    shown = capsys.readouterr().err
    assert told.replace("\\", "") in shown
    assert shown.count("\n") == 1


def test_data_without_the_task(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(trained), "--data.tasks", "loops"]) == 2
    assert "task 'digits' is not among the data, which hold loops" in capsys.readouterr().err
