"""A retraining that is stopped, and goes on: by hand, or because torchrun starts its ranks again."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from applications.nas.cli import main
from applications.nas.launch import Ranks
from applications.nas.progress import Tick, silent
from applications.nas.retrain import retrain
from applications.nas.retrain import run as run_module
from applications.nas.retrain import train as train_module
from applications.nas.retrain.checkpoint import Keeper
from applications.nas.retrain.ledger import Ledger
from applications.nas.retrain.run import retrain_run
from applications.nas.settings import DigitsData, SearchSettings
from tests.nas.parallel_cases import GENOTYPE, SETTINGS, WHOLE, WORDS, Stopped, toy
from tests.nas.torchrun import TORCHRUN, children, ended, kill, module, wait_for

SEARCHED = SearchSettings(data=DigitsData(("digits",)), seed=3)
SMALL = replace(WHOLE, epochs=2, batch=450)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another folder, and in this process no pictures: they take longer than the trainings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_module, "write_pages", lambda folder, *_: (folder / "index.html").write_text("pages"))
    monkeypatch.setenv("COLUMNS", "300")


def numbers(folder: Path) -> dict[str, object]:
    """All that a retraining computes: the metrics and weights of each training, and the results but for the time."""
    results = json.loads((folder / "results.json").read_text())
    for training in results["trainings"]:
        assert training.pop("seconds") > 0
    results.pop("torchrun", None)
    files = {path.name: path.read_text() for path in folder.glob("*.csv")}
    weights = {path.name: torch.load(path, weights_only=True) for path in folder.glob("*.pt")}
    plain = {f"{file} {name}": value.tolist() for file, state in weights.items() for name, value in state.items()}
    assert len(files) == len(weights) == len(results["trainings"])
    return {"results": results, **files, **plain}


# ---------------------------------------------------------------- by hand, in one process


def test_a_training_goes_on_to_the_bit(tmp_path: Path) -> None:
    """Crop, flip, cutout, drop path, momentum and moving average: all as if nothing had happened."""
    settings = replace(SETTINGS, drop_path=0.3)

    def run(name: str, stops: tuple[int, ...]) -> dict[str, torch.Tensor]:
        folder = tmp_path / name
        folder.mkdir()
        for stop in (*stops, 0):

            def tick(done: int, total: int, text: str, stop: int = stop) -> None:
                if text and done == stop:
                    raise Stopped

            try:
                keeper = Keeper(folder, "toy", 0, Ranks())
                retrain(GENOTYPE, toy(), settings, 0, folder, tick, keeper=keeper)
            except Stopped:
                assert stop
        rows = (folder / "toy-0.csv").read_bytes()
        return {**torch.load(folder / "toy-0.pt", weights_only=True), "rows": torch.tensor(list(rows))}

    first, second = run("whole", ()), run("stopped", (1, 3))
    assert all(value.equal(second[name]) for name, value in first.items())


def begin_and_stop_in(epoch: int) -> Callable[[str], Tick]:
    def tick(done: int, total: int, text: str) -> None:
        if done == epoch and text:
            raise Stopped

    return lambda label: tick


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("whole")
    retrain_run(GENOTYPE, "small", SEARCHED, SMALL, folder, lambda label: silent, search=folder.parent)
    return numbers(folder)


def stop(*arguments: object) -> None:
    raise Stopped


STOPS: dict[str, Callable[[pytest.MonkeyPatch], object]] = {
    "before anything is described": lambda patch: patch.setattr(run_module, "write_config", stop),
    "before the first epoch": lambda patch: patch.setattr(Keeper, "save", stop),
    "before a training is tested": lambda patch: patch.setattr(train_module, "score", stop),
    "before a training is written down": lambda patch: patch.setattr(Ledger, "add", stop),
    "before the results": lambda patch: patch.setattr(run_module, "write_json", stop),
    "before the pages": lambda patch: patch.setattr(run_module, "write_pages", stop),
    "in the second training": lambda patch: None,
}


@pytest.mark.parametrize("place", STOPS)
def test_a_retraining_goes_on_from_anywhere(
    place: str, whole: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "stopped"
    folder.mkdir()
    begin = begin_and_stop_in(3 if place == "in the second training" else -1)
    with pytest.MonkeyPatch.context() as patch:
        STOPS[place](patch)
        with pytest.raises(Stopped):
            retrain_run(GENOTYPE, "small", SEARCHED, SMALL, folder, begin, search=tmp_path)
    (folder / ".checkpoint.pt.0a1b2c3d").write_text("a process was killed as it wrote this")
    if place == "before anything is described":
        assert main(["retrain", "--resume", str(folder)]) == 2
        assert "config.json cannot be read" in capsys.readouterr().err
        return
    assert main(["evaluate", str(folder)]) == 2 or place == "before the pages"
    assert main(["retrain", "digits", "--out", str(folder), "--cell", "DARTS_V1", "data:digits"]) == 2
    assert f"go on with it by `mlo-nas retrain --resume {folder}`" in capsys.readouterr().err
    assert main(["retrain", "--resume", str(folder)]) == 0
    assert numbers(folder) == whole
    assert (folder / "index.html").is_file()
    assert not {path.name for path in folder.iterdir()} & {
        "checkpoint.pt",
        "unfinished.json",
        ".checkpoint.pt.0a1b2c3d",
    }
    assert main(["retrain", f"--resume={folder}"]) == 0, "nothing is left to do"


REFUSED = [
    ("--resume", "--resume takes a folder and nothing else"),
    ("--resume stopped --epochs 3", "--resume takes a folder and nothing else"),
    ("--resume nowhere", "nowhere/unfinished.json does not exist: give the folder of a retraining that was stopped"),
    ("--resume stopped", "stopped/checkpoint.pt holds no state of this training: remove it, and this training begins"),
]


@pytest.mark.parametrize(("words", "told"), REFUSED)
def test_refusals(words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "stopped").mkdir()
    with pytest.raises(Stopped):
        retrain_run(GENOTYPE, "small", SEARCHED, SMALL, tmp_path / "stopped", begin_and_stop_in(1))
    torch.save({"task": "digits", "seed": 0, "seconds": 1.0}, tmp_path / "stopped" / "checkpoint.pt")
    assert main(["retrain", *words.split()]) == 2
    shown = capsys.readouterr().err
    assert told in shown
    assert shown.count("\n") == 1


# ---------------------------------------------------------------- under torchrun


def epochs(folder: Path) -> int:
    file = folder / "checkpoint.pt"
    return len(torch.load(file, weights_only=True)["rows"]) if file.is_file() else 0


def test_a_rank_that_is_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Kill -9: torchrun starts both ranks again, and they find their folder and end where they would have."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "cell.json").write_text(GENOTYPE.to_json())
    half, folder = tmp_path / "half", tmp_path / "runs" / "retrain-1"
    with module("tests.nas.parallel_cases", "whole", folder=tmp_path) as process:
        assert ended(process)[::2] == (0, "")
    with module(*TORCHRUN, "--max-restarts", "3", "-m", "applications.nas", *WORDS.split(), folder=tmp_path) as agent:
        wait_for(lambda: epochs(folder) >= 2)
        before = children(agent.pid)
        for number, rank in before.items():
            if rank == 1:
                kill(number)
        wait_for(lambda: not set(before) & set(children(agent.pid)))
        shutil.copytree(folder, half)
        code, out, err = ended(agent)
    assert code == 0, err
    assert out.count("results: runs/retrain-1") == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["retrain-1"]
    assert numbers(folder) == numbers(tmp_path / "whole")
    assert "torchrun" in json.loads((folder / "results.json").read_text())
    assert {path.name for path in folder.iterdir()} == {path.name for path in (tmp_path / "whole").iterdir()}
    assert main(["retrain", "--resume", str(half)]) == 0  # and with one rank that is left
    rows = [path.joinpath("digits-0.csv").read_text().splitlines() for path in (half, folder)]
    assert len(rows[0]) == len(rows[1]) == 5
    assert rows[0][:3] == rows[1][:3]
    capsys.readouterr()


def test_a_rank_that_fails(tmp_path: Path) -> None:
    """One image of a folder is broken: the rank that has to decode it says so, and the job ends."""
    for part in ("train", "test"):
        for name in ("cats", "dogs"):
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (8, 8), (number, 2, 3)).save(tmp_path / "pets" / part / name / f"{number}.png")
    (tmp_path / "pets" / "train" / "cats" / "1.png").write_text("no image")
    words = "retrain folders --cell DARTS_V1 --epochs 1 --layers 3 --channels 2 --batch 4 --device cpu data:folders"
    words += " --data.roots pets --data.lazy --data.side 8 --data.workers 0"
    with module(*TORCHRUN, "-m", "applications.nas", *words.split(), folder=tmp_path) as agent:
        started = time.monotonic()
        code, _, err = ended(agent)
    assert time.monotonic() - started < 60
    assert code != 0
    told = [line for line in err.splitlines() if "1.png: cannot be read as an image" in line]
    assert len(told) == 1
    assert told[0].startswith(("rank 0: error: ", "rank 1: error: "))
