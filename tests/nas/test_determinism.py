"""The same seed gives the same files to the byte, but for times: in any process, for any number of workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from applications.nas.config_file import from_json, to_json
from applications.nas.data import large_folder_task
from applications.nas.methods import AbstractMethod, Darts, PCDarts, PDarts
from applications.nas.progress import silent
from applications.nas.retrain.run import retrain_run
from applications.nas.search import record, search
from applications.nas.settings import (
    ArchitectureSettings,
    CifarForm,
    FolderData,
    Formulation,
    GradientSettings,
    Interleaving,
    MultiTask,
    RetrainSettings,
    SearchSettings,
    SingleTask,
    SupernetSettings,
)
from applications.nas.space.genotype import Cell, Edge, Genotype
from tests.nas.pictures import write_folder, write_noise

PRIMITIVES = ("none", "skip_connect", "max_pool_3x3", "dil_conv_3x3")
SETTINGS = SearchSettings(
    supernet=SupernetSettings(nodes=1, primitives=PRIMITIVES, channels=4, layers=3),
    gradient=GradientSettings("first"),
    formulation=Interleaving(weight=20.0),
    architecture=ArchitectureSettings(lr=0.05),
    epochs=2,
    batch=4,
    seed=3,
    device="cpu",
)
RETRAIN = RetrainSettings(
    network=CifarForm(1, 3), epochs=2, batch=6, drop_path=0.3, cutout=3, ema=0.5, seeds=(2,), device="cpu"
)
CELL = Cell((Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)), (2,))
PARTS = {"train": 6, "test": 3}
SEARCHED = {"alphas.json", "checkpoint.pt", "genotypes.json", "metrics.csv", "results.json", "splits.json"}
PROGRAM = """
import sys
from pathlib import Path
import torch
from applications.nas.config_file import from_json
from applications.nas.search import record
from applications.nas.settings import SearchSettings
from tests.nas.test_determinism import run
torch.set_num_threads(1)
record.draw_search = lambda *_: ([], [])
run(from_json(SearchSettings, Path(sys.argv[1]).read_text(), "settings"), Path(sys.argv[2]))
"""
ROOT = Path(__file__).resolve().parents[2]


def run(asked: SearchSettings, folder: Path) -> None:
    """Search, and retrain a cell on the same data."""
    search(asked, folder / "search")
    (folder / "retrain").mkdir()
    retrain_run(Genotype(CELL, CELL), "V1", asked, RETRAIN, folder / "retrain", lambda _: silent)


def files(folder: Path, without: Sequence[str] = ()) -> dict[str, object]:
    """Return all files below a folder by name, without what tells times or the command: pages, and TensorBoard's."""
    found: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if "tensorboard/" in name or path.name in ("README.md", "index.html", *without):
            continue
        found[name] = path.read_bytes()
        if path.name in ("environment.json", "results.json"):
            content = json.loads(path.read_text())
            found[name] = [
                {key: value for key, value in one.items() if key not in ("started", "command", "seconds", "trainings")}
                for one in (content, *content.get("trainings", ()))
            ]
    return found


def differing(one: Path, other: Path, without: Sequence[str] = ()) -> list[str]:
    """Return the names of files that are not the same in two folders."""
    left, right = files(one, without), files(other, without)
    return sorted(name for name in {*left, *right} if left.get(name) != right.get(name))


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchSettings:
    """Two tasks of image files."""
    monkeypatch.setattr(record, "draw_search", lambda *_: ([], []))
    roots = tuple(write_folder(tmp_path / name, PARTS) for name in ("one", "two"))
    return replace(SETTINGS, data=FolderData(roots, side=8, lazy=True))


def with_workers(asked: SearchSettings, workers: int) -> SearchSettings:
    assert isinstance(asked.data, FolderData)
    return replace(asked, data=replace(asked.data, workers=workers))


def test_in_another_process(asked: SearchSettings, tmp_path: Path) -> None:
    """With another order of sets and dicts, another working directory, other draws before, and other workers."""
    asked = replace(asked, epochs=1)
    torch.rand(5)
    run(asked, tmp_path / "here")
    run(with_workers(asked, 2), tmp_path / "decoded")
    (tmp_path / "elsewhere").mkdir()
    told = tmp_path / "settings.json"
    told.write_text(to_json(asked))
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", PROGRAM, str(told), str(tmp_path / "there")]
    subprocess.run(words, cwd=tmp_path / "elsewhere", env=environment, check=True)
    names = set(files(tmp_path / "here"))
    assert {f"search/{name}" for name in SEARCHED} <= names
    assert {"retrain/results.json", "retrain/one-2.pt", "retrain/two-2.csv"} <= names
    assert differing(tmp_path / "here", tmp_path / "there") == []
    assert differing(tmp_path / "here", tmp_path / "decoded", ["config.json", "data.json"]) == []  # they name workers


CASES = {
    "single, pdarts": (SingleTask(), PDarts(deeper=(0, 1), kept=(1.0, 0.6), dropout=(0.2, 0.5)), "plain"),
    "multi, pcdarts": (MultiTask(), PCDarts(portion=2, warm_up=0.0), "batched"),
    "interleaving, darts": (Interleaving(weight=20.0), Darts(), "batched"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_second_time(case: tuple[Formulation, AbstractMethod, str], asked: SearchSettings, tmp_path: Path) -> None:
    """The second with the setting deterministic, which changes nothing on a CPU but what is said of it."""
    form, method, net = case
    one = replace(asked, epochs=1, method=method, formulation=form, supernet=replace(asked.supernet, form=net))  # type: ignore[arg-type]
    search(one, tmp_path / "one run")
    search(replace(one, deterministic=True), tmp_path / "two run")
    assert differing(tmp_path / "one run", tmp_path / "two run", ["config.json", "environment.json"]) == []
    now = json.loads((tmp_path / "two run" / "environment.json").read_text())
    assert now["deterministic"] == "on"
    kept = from_json(SearchSettings, (tmp_path / "two run" / "config.json").read_text(), "config")
    assert kept.deterministic
    assert not torch.are_deterministic_algorithms_enabled()


def test_another_seed_is_seen(asked: SearchSettings, tmp_path: Path) -> None:
    """The comparison is not blind."""
    one = replace(asked, epochs=1, formulation=SingleTask())
    search(one, tmp_path / "a")
    search(replace(one, seed=4), tmp_path / "b")
    assert {"alphas.json", "metrics.csv", "checkpoint.pt"} <= set(differing(tmp_path / "a", tmp_path / "b"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images in two folders; in the second, the last one was written first."""
    place = tmp_path_factory.mktemp("pictures")
    write_folder(place / "first" / "pets", PARTS)
    for path in sorted((place / "first").rglob("*.png"), reverse=True):
        other = place / "second" / path.relative_to(place / "first")
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(path.read_bytes())
    write_noise(place / "second" / "pets" / "train" / "ant" / ".hidden.png", 0)
    return place


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than this machine has cores
@settings(max_examples=5)
@given(
    workers=st.sampled_from([1, 2, 4]),
    size=st.integers(3, 12),
    seed=st.integers(0, 2**31),
    part=st.sampled_from(["train", "valid", "all", "test"]),
    drawn=st.integers(0, 3),
)
def test_batches_of_any_workers(pictures: Path, workers: int, size: int, seed: int, part: str, drawn: int) -> None:
    batches = []
    for folder, count in (("first", 0), ("second", workers)):
        root = pictures / folder / "pets"
        task = large_folder_task(root, name="pets", side=8, seed=1, workers=count)
        torch.rand(drawn if count else 0)
        size = min(size, len(task.test))
        stream = task.stream(part, size=size, seed=seed, device="cpu", training=part != "test")  # type: ignore[arg-type]
        batches.append([*stream, *stream])
    assert len(batches[0]) == len(batches[1])
    for (x, y), (other, label) in zip(*batches, strict=True):
        assert torch.equal(x, other)
        assert torch.equal(y, label)
