"""Thousands of damaged and hostile files in the folders of runs: each gives an error that names it, or what it says.

Files of tensors have a checksum, so none of them is taken if it was changed. Settings, cells and results are text that
people may write themselves: they have none, and must make sense.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from applications.nas.config_file import to_json
from applications.nas.data import split_records
from applications.nas.draw.sketch import GRAPH, GraphSketch, Stage, read_sketch, write_sketch
from applications.nas.report.read import find_runs
from applications.nas.retrain import run as retraining
from applications.nas.retrain.folder import read_begun, read_retrain_folder
from applications.nas.retrain.ledger import Unfinished, job_of
from applications.nas.retrain.training import Training
from applications.nas.retrain.weights_file import load_weights, save_weights
from applications.nas.run_folder import (
    History,
    MetricsFile,
    read_genotype,
    read_history,
    read_metrics,
    read_results,
    read_search_settings,
)
from applications.nas.sealed import _comment, read_sealed, write_sealed
from applications.nas.settings import DigitsData, RetrainData
from applications.nas.space.zoo import ZOO
from applications.nas.tasks import load_tasks
from mlo import DamagedError, DataError, MLOError
from tests.damage import Watch, damaged, flipped_at, hostile_files, torch_zip
from tests.nas.made_runs import made_retraining, made_search
from tests.test_corruption import VALUES, _places, _put, bombs, headers

FIX = "begin again"
STATE = {
    "step": 3,
    "rows": [{"loss": 0.5, "step": 1.0}, {"loss": float("nan")}],
    "network": {"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(2)},
    "half": torch.ones(3, dtype=torch.bfloat16),
    "names": ("a", None, True, 2**70),
}
NETWORK = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def one_line(error: MLOError, file: Path) -> None:
    message = str(error)
    assert "\n" not in message
    assert file.name in message or file.parent.name in message, message


# ---------------------------------------------------------------- files of tensors, with a checksum


def refused(watch: Watch, file: Path) -> None:
    with watch.reading(), pytest.raises(DamagedError) as caught:
        read_sealed(file, FIX)
    one_line(caught.value, file)
    assert str(caught.value).endswith(FIX)


def test_a_damaged_file_of_tensors(tmp_path: Path) -> None:
    file, watch = tmp_path / "state.pt", Watch()
    write_sealed(file, STATE)
    content = file.read_bytes()
    other = tmp_path / "other.pt"
    torch.save(STATE, other)
    for changed in damaged(content, 0, 1500, [other.read_bytes(), *hostile_files().values(), *bombs().values()]):
        file.write_bytes(changed)
        if b"mlo-nas 1 " not in changed[-100:]:  # of another format it may be, and then says so
            refused(watch, file)
            continue
        with watch.reading(), pytest.raises(DamagedError):
            read_sealed(file, FIX)
    for changed in flipped_at(content, [*headers(content), *range(len(content) - 100, len(content))]):
        file.write_bytes(changed)
        refused(watch, file)
    watch.check(least=2000)


def sealed(content: bytes) -> bytes:
    """Return a file with a right checksum, as somebody makes it who wants it to be taken."""
    comment = _comment(content, b"1")
    return content[:-2] + len(comment).to_bytes(2, "little") + comment


def test_a_forged_file_of_tensors(tmp_path: Path) -> None:
    """With a right checksum, nothing is run, and nothing asks for more memory than the file has bytes."""
    file, watch = tmp_path / "state.pt", Watch()
    read_sealed_once(file)
    for content in [*hostile_files().values(), *bombs().values()]:
        file.write_bytes(sealed(content))
        refused(watch, file)
    watch.check(least=140)


def read_sealed_once(file: Path) -> bytes:
    """Write a good file and read it, so that all modules that this takes are imported; return its content."""
    write_sealed(file, STATE)
    read_sealed(file, FIX)
    content = file.read_bytes()
    size = len(content) - content.rfind(b"mlo-nas ")
    return content[: len(content) - size - 2] + b"\0\0"


def test_forged_damage(tmp_path: Path) -> None:
    """Any damage under a right checksum: an error, or tensors and plain data."""
    file, watch, taken = tmp_path / "state.pt", Watch(), 0
    plain = read_sealed_once(file)
    far = torch_zip(b"\x80\x02K\x01r\xff\xff\xff\x7f.")  # a number that is to be remembered at place two billion
    for changed in [
        far,
        *damaged(plain, 1, 700),
        *flipped_at(plain, headers(plain)),
        *flipped_at(plain, range(0, 600), 4),
    ]:
        file.write_bytes(sealed(changed))
        with watch.reading():
            try:
                read_sealed(file, FIX)
                taken += 1
            except DataError as error:
                one_line(error, file)
    watch.check(least=1700)
    assert taken > 20


@pytest.mark.parametrize("state", [{1, 2}, Path("a"), b"bytes", torch.ones(1).expand(5), torch.eye(2).to_sparse()])
def test_what_could_not_be_read_is_not_written(tmp_path: Path, state: Any) -> None:
    with pytest.raises(DataError, match=r"state\.pt: what it was to hold could not be read again"):
        write_sealed(tmp_path / "state.pt", {"a": state})
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(DataError, match=r"more than 64 levels|more parts than bytes"):
        write_sealed(tmp_path / "state.pt", circle)
    assert list(tmp_path.iterdir()) == []


def test_weights(tmp_path: Path) -> None:
    """Of a network: torch reads them without us, and what is damaged is refused and changes nothing."""
    file, watch = tmp_path / "digits-0.pt", Watch()
    save_weights(NETWORK, file)
    content, before = file.read_bytes(), {name: value.clone() for name, value in NETWORK.state_dict().items()}
    plain = torch.load(file, weights_only=True)
    assert all(torch.equal(plain[name], value) for name, value in before.items())
    load_weights(NETWORK, file)
    for changed in damaged(content, 2, 400, hostile_files().values()):
        file.write_bytes(changed)
        with watch.reading(), pytest.raises(DamagedError) as caught:
            load_weights(NETWORK, file)
        one_line(caught.value, file)
    for state in (
        {},
        [1],
        {"0.weight": 1},
        {"0.weight": torch.ones(2)},
        {**before, "more": torch.ones(1)},
        {1: before},
    ):
        write_sealed(file, state)
        with pytest.raises(DataError, match="holds the weights of another network"):
            load_weights(NETWORK, file)
    assert all(torch.equal(NETWORK.state_dict()[name], value) for name, value in before.items())
    watch.check(least=400)


# ---------------------------------------------------------------- text, without a checksum


@pytest.fixture(scope="module")
def tasks() -> Any:
    return load_tasks(DigitsData(("digits",)), 0)


def search_folder(folder: Path, tasks: Any) -> dict[str, list[Callable[[Path], Any]]]:
    """Write a folder of a search; return who reads its files."""
    made_search(folder)
    (folder / "genotype.json").write_text(ZOO["DARTS_V2"].to_json())
    history = History(folder)
    weights = {"normal": [{"none": 0.25, "skip_connect": 0.75}]}
    for epoch in (1, 2):
        history.add(epoch, ZOO["DARTS_V1"], alphas={"alpha": torch.ones(2, 2)}, weights=weights, gap=0.5)
    with MetricsFile(folder / "metrics.csv", ["step", "loss/a"]) as file:
        for step in range(3):
            file.write({"step": float(step), "loss/a": 0.5})
    stage = Stage("w", "Unroll, 1 step", ("alpha",))
    write_sketch(folder, GraphSketch(stage, (stage,)))
    (folder / "splits.json").write_text(json.dumps(split_records(tasks)))
    return {
        "config.json": [read_search_settings, lambda at: find_runs([at])],
        "genotype.json": [read_genotype],
        "genotypes.json": [read_history],
        "metrics.csv": [read_metrics],
        "results.json": [read_results, lambda at: find_runs([at])],
        "splits.json": [lambda at: retraining._check_search(at, tasks)],
        GRAPH: [read_sketch],
    }


def retrain_folder(folder: Path, begun: bool) -> dict[str, list[Callable[[Path], Any]]]:
    """Write a folder of a retraining; return who reads its files."""
    made_retraining(folder, {"digits": [1.5, 2.0]}, genotype=ZOO["DARTS_V2"].to_json())
    (folder / "data.json").write_text(to_json(RetrainData(DigitsData(("digits",)), 0)))
    if not begun:
        readers = [read_retrain_folder, lambda at: find_runs([at]), job_of]
        return {name: readers for name in ("config.json", "data.json", "genotype.json", "results.json")}
    training = Training("digits", seed=0, error=1.5, parameters=10, seconds=1.0, tested=100)
    (folder / "unfinished.json").write_text(to_json(Unfinished("mine", "..", None, (training,))))
    return {"unfinished.json": [read_begun, job_of], "config.json": [read_begun]}


def read_all(watch: Watch, file: Path, readers: list[Callable[[Path], Any]]) -> int:
    """Read a file by all who read it; return how many took it."""
    taken = 0
    with watch.reading():
        for reader in readers:
            try:
                reader(file.parent)
                taken += 1
            except MLOError as error:
                one_line(error, file)
    return taken


def attack(watch: Watch, file: Path, readers: list[Callable[[Path], Any]], many: int) -> None:
    """Damage a file by chance and, if it is JSON, by putting anything at any place."""
    content, draw = file.read_bytes(), random.Random(0)
    assert read_all(Watch(evaluates=True), file, readers) == len(readers), file
    for changed in damaged(content, 0, many, [b"\n".join([content] * 2), *list(hostile_files().values())[::8]]):
        file.write_bytes(changed)
        read_all(watch, file, readers)
    if file.suffix == ".json":
        text = content.decode()
        places = list(_places(json.loads(text)))
        for number in range(many):
            changed = _put(text, places[number % len(places)], draw.choice(["gone", 20, 300, *[(v,) for v in VALUES]]))
            file.write_text(json.dumps(changed))
            read_all(watch, file, readers)
    file.write_bytes(content)


MANY = 70


def test_text_of_a_search(tmp_path: Path, tasks: Any) -> None:
    watch, files = Watch(evaluates=True), search_folder(tmp_path / "search", tasks)
    for name, readers in files.items():
        attack(watch, tmp_path / "search" / name, readers, MANY)
    watch.check(least=900)


@pytest.mark.parametrize("begun", [False, True])
def test_text_of_a_retraining(tmp_path: Path, begun: bool) -> None:
    watch, files = Watch(evaluates=True), retrain_folder(tmp_path / "retrain", begun)
    for name, readers in files.items():
        attack(watch, tmp_path / "retrain" / name, readers, MANY)
    watch.check(least=280)
