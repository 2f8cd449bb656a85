"""Damaged text in the folders of runs: an error that names the file, or what it says now.

Settings, cells and results may be written by people themselves: they have no checksum, and must make sense.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from applications.nas.config_file import to_json
from applications.nas.data import split_records
from applications.nas.draw.sketch import GRAPH, GraphSketch, Stage, read_sketch, write_sketch
from applications.nas.report.read import find_runs
from applications.nas.retrain import run as retraining
from applications.nas.retrain.folder import read_begun, read_retrain_folder
from applications.nas.retrain.ledger import Unfinished
from applications.nas.retrain.training import Training
from applications.nas.run_folder import (
    History,
    MetricsFile,
    read_genotype,
    read_history,
    read_metrics,
    read_results,
    read_search_settings,
)
from applications.nas.run_folder.place import job_of
from applications.nas.settings import DigitsData, RetrainData
from applications.nas.space.zoo import ZOO
from applications.nas.tasks import load_tasks
from mlo import MLOError
from tests.damage import Watch, damaged
from tests.hostile import VALUES, hostile_files, places_in, put
from tests.nas.made_runs import made_retraining, made_search


def one_line(error: MLOError, file: Path) -> None:
    message = str(error)
    assert "\n" not in message
    assert file.name in message or file.parent.name in message, message


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
        places = list(places_in(json.loads(text)))
        for number in range(many):
            changed = put(text, places[number % len(places)], draw.choice(["gone", 20, 300, *[(v,) for v in VALUES]]))
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
