"""Find the runs below some folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from applications.nas.files import read_json, read_object, read_text
from applications.nas.report.records import (
    CUT_OFF,
    Retrained,
    Searched,
    read_outcome,
    read_searched,
    read_tested,
    up_to_date,
)
from applications.nas.run_folder import CONFIG, DATA, FAILURE, GENOTYPE, RESULTS
from applications.nas.settings import RetrainData, RetrainSettings
from mlo import ConfigError, DataError

_UNFINISHED = {
    "SearchSettings": "the search has not finished",
    "RetrainSettings": "the retraining has not finished",
    "DemoSettings": "the demo has not finished",
}


@dataclass
class Found:
    """What lies below some folders.

    Attributes:
        retrained: Finished retrainings.
        searched: Finished searches.
        left_out: Folders that count for nothing, each with the reason.
    """

    retrained: list[Retrained] = field(default_factory=list)
    searched: list[Searched] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)


def find_runs(paths: Iterable[Path]) -> Found:
    """Read all runs in and below folders; one that is named twice counts once.

    Raises:
        ConfigError: If a path is no folder.
    """
    found, seen = Found(), set()
    for path in paths:
        if not path.is_dir():
            raise ConfigError(f"{path} is no folder: give the folders of searches, retrainings, sweeps or demos")
        folders = list(_folders(path))
        if not folders:
            found.left_out.append((path, "there is no run in it"))
        for folder in folders:
            if folder.resolve() not in seen:
                seen.add(folder.resolve())
                _read(folder, found)
    return found


def read_retrained(folder: Path) -> Retrained:
    """Read the folder of a finished retraining.

    Raises:
        DataError: If it is none, or something in it is not as it should be; the message names the file.
    """
    content = read_outcome(folder, "retrain")
    search, lost = None, ""
    if content.get("search") is not None:
        place = folder / str(content["search"])
        try:
            search = read_searched(place)
        except DataError as error:
            lost = f"the search that found its cell cannot be read ({error})"
    settings = up_to_date(RetrainSettings, read_object(folder / CONFIG, CUT_OFF))
    if (folder / DATA).is_file():  # the data, not the seed of their split: that is a repetition
        settings["data"] = up_to_date(RetrainData, read_object(folder / DATA, CUT_OFF)).get("data")
    return _retrained(folder, str(content.get("cell")), folder / GENOTYPE, content, search, lost, settings)


def _folders(path: Path) -> Iterator[Path]:
    """Yield the folder and all below it that hold a run, in the order of their names."""
    for place, below, files in os.walk(path):
        below[:] = sorted(name for name in below if not name.startswith("."))  # such as copies that were cut short
        if not {CONFIG, RESULTS, FAILURE}.isdisjoint(files):
            yield Path(place)
        if _is_demo(Path(place)) and "retrain" in below:
            below.remove("retrain")  # the demo's own results hold them


def _is_demo(folder: Path) -> bool:
    try:
        return (folder / CONFIG).is_file() and read_object(folder / CONFIG, CUT_OFF).get("kind") == "DemoSettings"
    except DataError:
        return False


def _read(folder: Path, found: Found) -> None:
    try:
        if (folder / FAILURE).is_file():
            lines = read_text(folder / FAILURE).splitlines()
            raise DataError(f"it failed: {lines[0] if lines else 'no reason is given'}")
        if _is_demo(folder):
            found.retrained += _read_demo(folder)
            return
        if not (folder / RESULTS).is_file():
            kind = str(read_object(folder / CONFIG, CUT_OFF).get("kind"))
            raise DataError(_UNFINISHED.get(kind, f"it holds settings alone, of kind {kind!r}"))
        content = read_object(folder / RESULTS, CUT_OFF)
        if content.get("kind") == "retrain":
            found.retrained.append(read_retrained(folder))
        else:
            found.searched.append(read_searched(folder))
    except DataError as error:
        found.left_out.append((folder, str(error)))


def _read_demo(folder: Path) -> list[Retrained]:
    """Read a demo, whose results hold several cells."""
    file = folder / RESULTS
    if not file.is_file():
        raise DataError(_UNFINISHED["DemoSettings"])
    content = read_json(file, CUT_OFF)
    if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
        raise DataError(f"{file}: it holds no list of cells: it was written by another version")
    asked = read_object(folder / CONFIG, CUT_OFF).get("retrain")
    settings = up_to_date(RetrainSettings, asked) if isinstance(asked, dict) else {}
    found = []
    for one in content:
        name = str(one.get("cell"))
        search = read_searched(folder / name) if (folder / name).is_dir() else None
        place = folder / f"{name}.json"
        found.append(_retrained(folder, name, place, one, search, "", settings))
    return found


def _retrained(
    folder: Path, cell: str, place: Path, content: Any, search: Searched | None, lost: str, settings: dict[str, Any]
) -> Retrained:
    trainings = content.get("trainings")
    if not isinstance(trainings, list) or not trainings:
        raise DataError(f"{folder / RESULTS}: it lists no training of the cell {cell!r}: retrain it again")
    tests = tuple(read_tested(folder / RESULTS, one) for one in trainings)
    try:
        genotype = read_text(place)
    except DataError:
        if search is None and cell == "random":
            raise  # or random cells could not be told apart
        genotype = ""  # a network that is no cell
    ranks = content.get("ranks")
    devices = ranks if type(ranks) is int and ranks > 0 else 1  # written down only where torchrun started several
    return Retrained(folder, cell, genotype, search, lost, settings, tests, devices)
