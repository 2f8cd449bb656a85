"""A retraining that is stopped goes on as if it had not been, wherever it was stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from applications.nas.cli import main
from applications.nas.launch import Ranks
from applications.nas.progress import Tick, silent
from applications.nas.retrain import retrain
from applications.nas.retrain import run as run_module
from applications.nas.retrain.checkpoint import Keeper
from applications.nas.retrain.ledger import Ledger
from applications.nas.retrain.run import retrain_run
from applications.nas.run_folder import write_json
from applications.nas.run_folder.place import place
from applications.nas.settings import DigitsData, SearchSettings
from applications.nas.space.zoo import ZOO
from mlo import ConfigError
from tests.nas.parallel_cases import GENOTYPE, SETTINGS, WHOLE, Stopped, computed, toy

SEARCHED = SearchSettings(data=DigitsData(("digits",)), seed=3)
SMALL = replace(WHOLE, epochs=2, batch=450, cutout=0)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another folder, and in this process no pictures: they take longer than the trainings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_module, "write_pages", lambda folder, *_: (folder / "index.html").write_text("pages"))
    monkeypatch.setenv("COLUMNS", "300")


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
    return computed(folder)


def stop(*arguments: object) -> None:
    raise Stopped


STOPS: dict[str, Callable[[pytest.MonkeyPatch], object]] = {
    "before the first epoch": lambda patch: patch.setattr(Keeper, "save", stop),
    "before a training is written down": lambda patch: patch.setattr(Ledger, "add", stop),
    "before the results": lambda patch: patch.setattr(run_module, "write_json", stop),
    "before the pages": lambda patch: patch.setattr(run_module, "write_pages", stop),
    "in the second training": lambda patch: None,
}


@pytest.mark.parametrize("place", STOPS)
def test_a_retraining_goes_on_from_anywhere(place: str, whole: dict[str, object], tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    folder.mkdir()
    begin = begin_and_stop_in(3 if place == "in the second training" else -1)
    with pytest.MonkeyPatch.context() as patch:
        STOPS[place](patch)
        with pytest.raises(Stopped):
            retrain_run(GENOTYPE, "small", SEARCHED, SMALL, folder, begin, search=tmp_path)
    assert main(["retrain", "--resume", str(folder)]) == 0
    assert computed(folder) == whole
    assert (folder / "index.html").is_file()


def test_an_unfinished_folder_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that was half written is no hindrance, and is gone at the end; then nothing is left to do."""
    folder, begin = tmp_path / "stopped", begin_and_stop_in(SMALL.epochs * 2)
    folder.mkdir()
    with pytest.raises(Stopped):
        retrain_run(GENOTYPE, "small", SEARCHED, SMALL, folder, begin)
    (folder / "checkpoints").mkdir(exist_ok=True)
    for where in (folder, folder / "checkpoints"):
        (where / ".checkpoint.pt.0a1b2c3d.aside").write_text("a process was killed as it wrote this")
    for words in (
        ["evaluate", str(folder)],
        ["retrain", "digits", f"--out={folder}", "--cell=DARTS_V1", "data:digits"],
    ):
        assert main(words) == 2
        assert f"go on with it by `mlo-nas retrain --resume {folder}`" in capsys.readouterr().err
    for _ in range(2):
        assert main(["retrain", f"--resume={folder}"]) == 0
        assert not [path.name for path in folder.iterdir() if "checkpoint" in path.name or "unfinished" in path.name]
    (folder / "unfinished.json").write_text('{"cell": "x", "search": null, "torchrun": null}')
    (folder / "config.json").unlink()
    assert main(["retrain", f"--resume={folder}"]) == 2
    assert "config.json cannot be read" in capsys.readouterr().err


REFUSED = [
    (
        "digits --cell DARTS_V1 data:digits --sync-batch-norm --device cpu",
        "sync_batch_norm: torch has it for GPUs alone",
    ),
    ("--resume", "--resume takes a folder and nothing else"),
    ("--resume stopped --epochs 3", "--resume takes a folder and nothing else"),
    ("--resume nowhere", "nowhere/unfinished.json does not exist: give the folder of a retraining that was stopped"),
    ("--resume stopped", "stopped/checkpoint.pt is that of an older version, which this one cannot go on with: remove"),
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


# ---------------------------------------------------------------- the folder of a job


def found(monkeypatch: pytest.MonkeyPatch, job: str | None, restarts: int, out: Path | None = None) -> tuple[str, bool]:
    with monkeypatch.context() as patch:
        if job is not None:
            patch.setenv("TORCHELASTIC_RUN_ID", job)
            patch.setenv("TORCHELASTIC_RESTART_COUNT", str(restarts))
        with place(out, Path("runs"), "retrain", "retrain", Ranks()) as (folder, resumed):
            (folder / "seen").touch()
        return folder.name, resumed


def test_a_job_finds_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (file, job) in enumerate(
        [("unfinished", "none"), ("unfinished", "a"), ("results", "a"), ("unfinished", "none"), ("results", "b")],
        start=1,
    ):
        folder = Path(f"runs/retrain-{number}")
        folder.mkdir(parents=True)
        write_json(folder / f"{file}.json", {"torchrun": job})
        os.utime(folder / f"{file}.json", (number, number))
    write_json(Path("runs/retrain-4/results.json"), [])  # whatever it is, it is not read
    assert found(monkeypatch, "a", 0) == ("retrain-2", True), "a machine came or went: torchrun counts no restart"
    assert found(monkeypatch, "a", 1) == ("retrain-3", True), "restarted at the very end"
    assert found(monkeypatch, "none", 1) == ("retrain-4", True), "the last of those without a name"
    assert found(monkeypatch, "b", 0) == ("retrain-6", False), "the name of a job that has finished is free"
    assert found(monkeypatch, "none", 0) == ("retrain-7", False)
    assert found(monkeypatch, None, 0) == ("retrain-8", False)
    assert found(monkeypatch, "a", 0, Path("runs/retrain-2")) == ("retrain-2", True)
    with pytest.raises(ConfigError, match="mlo-nas retrain --resume runs/retrain-2"):
        found(monkeypatch, "b", 0, Path("runs/retrain-2"))


def test_a_folder_of_other_settings(tmp_path: Path) -> None:
    (tmp_path / "stopped").mkdir()
    arguments = (SEARCHED, SMALL, tmp_path / "stopped", begin_and_stop_in(1))
    with pytest.raises(Stopped):
        retrain_run(GENOTYPE, "small", *arguments)
    for other, file in ((replace(SMALL, epochs=3), "config"), (SMALL, "data")):
        searched = SEARCHED if file == "config" else replace(SEARCHED, seed=4)
        with pytest.raises(ConfigError, match=rf"{file}\.json is that of another retraining: ask for the same"):
            retrain_run(GENOTYPE, "small", searched, other, *arguments[2:], resumed=True)
    with pytest.raises(ConfigError, match=r"genotype\.json is that of another retraining"):
        retrain_run(ZOO["PDARTS"], "other", *arguments, resumed=True)
