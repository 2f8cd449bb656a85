"""What a report knows of a run, and how it is read from JSON that may be of any age or origin."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from applications.nas.config_file import renewed
from applications.nas.files import read_object
from applications.nas.run_folder import CONFIG, RESULTS
from applications.nas.settings import SearchSettings
from mlo import DataError

CUT_OFF = "it was cut off, is of another version, or no file of a run"


@dataclass(frozen=True)
class Searched:
    """A finished search.

    Attributes:
        folder: Where it is.
        method: Such as "DARTS-2nd".
        formulation: "single", "multi" or "interleaving".
        tasks: What it searched on.
        seed: Its seed.
        seconds: Wall time.
        devices: How many it ran on.
        device: "cpu", or the name of a GPU.
        skips: Skip connections of the cell, by type of cell.
        settings: Its configuration as plain data.
    """

    folder: Path
    method: str
    formulation: str
    tasks: tuple[str, ...]
    seed: int
    seconds: float
    devices: int
    device: str
    skips: Mapping[str, int]
    settings: Mapping[str, Any]

    @property
    def days(self) -> float:
        """What it took, in days of one device."""
        return self.seconds * self.devices / 86400


@dataclass(frozen=True)
class Tested:
    """One network, trained from scratch and tested; the attributes are those of `Training`."""

    task: str
    metric: str
    seed: int
    error: float
    top5: float | None
    parameters: int
    multiply_adds: int | None
    tested: int
    seconds: float | None = None


@dataclass(frozen=True)
class Retrained:
    """A finished retraining of one cell.

    Attributes:
        folder: Where it is.
        cell: What its trainer called the cell.
        genotype: The cell as text, to tell cells apart.
        search: The search that found it, if one did and is still there.
        lost: The folder of a search that is not there or not readable, and why; empty if nothing is amiss.
        settings: The configuration of the retraining as plain data.
        tests: Its networks.
        devices: How many it ran on.
    """

    folder: Path
    cell: str
    genotype: str
    search: Searched | None
    lost: str
    settings: Mapping[str, Any]
    tests: tuple[Tested, ...]
    devices: int = 1


def read_searched(folder: Path) -> Searched:
    """Read the folder of a finished search.

    Raises:
        DataError: If it is none, or something in it is not as it should be; the message names the file.
    """
    file, content = folder / RESULTS, read_outcome(folder, "search")
    return Searched(
        folder=folder,
        method=_text(file, content, "method"),
        formulation=_text(file, content, "formulation"),
        tasks=tuple(str(name) for name in _of(file, content, "tasks", list)),
        seed=_of(file, content, "seed", int),
        seconds=_number(file, content, "seconds"),
        devices=_of(file, content, "devices", int),
        device=_text(file, content, "device"),
        skips=_counts(file, _of(file, content, "skips", dict)),
        settings=up_to_date(SearchSettings, read_object(folder / CONFIG, CUT_OFF)),
    )


def up_to_date(kind: type[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as plain data in which those that are new since they were written have their defaults.

    So runs with equal settings share a row, however old they are.

    Args:
        kind: Of which they are.
        settings: What was read; what does not fit, as that of a method which is not imported, is kept as it stands.
    """
    found: dict[str, Any] = json.loads(renewed(kind, json.dumps(settings)))
    return found


def read_tested(file: Path, content: Any) -> Tested:
    """Read one training of a file of results; what an earlier version did not write is taken as not known."""
    if not isinstance(content, dict):
        raise DataError(f"{file}: a training is {content!r}, not an object: the file is not what a retraining writes")
    return Tested(
        task=_text(file, content, "task"),
        metric=_text(file, content, "metric") if "metric" in content else "error %",
        seed=_of(file, content, "seed", int),
        error=_number(file, content, "error"),
        top5=None if content.get("top5") is None else _number(file, content, "top5"),
        parameters=_of(file, content, "parameters", int),
        multiply_adds=None if content.get("multiply_adds") is None else _of(file, content, "multiply_adds", int),
        tested=_of(file, content, "tested", int),
        seconds=None if content.get("seconds") is None else _number(file, content, "seconds"),
    )


def read_outcome(folder: Path, kind: Literal["search", "retrain"]) -> dict[str, Any]:
    """Read the results of a finished run.

    Raises:
        DataError: If there are none, or they are those of another kind of run.
    """
    file = folder / RESULTS
    content = read_object(file, CUT_OFF)
    if content.get("kind") != kind:
        run = "a search" if kind == "search" else "a retraining"
        raise DataError(f"{file}: it is not that of {run}: its kind is {content.get('kind')!r}")
    return content


def _of(file: Path, content: Mapping[str, Any], key: str, kind: type[Any]) -> Any:
    value = content.get(key)
    if type(value) is not kind:
        raise DataError(f"{file}: {key!r} is {value!r}, not of type {kind.__name__}: it was written by another version")
    return value


def _counts(file: Path, content: Mapping[str, Any]) -> dict[str, int]:
    return {name: _of(file, content, name, int) for name in content}


def _text(file: Path, content: Mapping[str, Any], key: str) -> str:
    return str(_of(file, content, key, str))


def _number(file: Path, content: Mapping[str, Any], key: str) -> float:
    value = content.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{file}: {key!r} is {value!r}, not a finite number: the run is not usable")
    return float(value)
