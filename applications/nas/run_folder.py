"""The folder of a run: what is in it, and how it is written and read."""

from __future__ import annotations

import csv
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from applications.nas.config_file import from_json, to_json
from applications.nas.settings import SearchSettings
from applications.nas.space.genotype import Genotype
from applications.nas.space.zoo import ZOO
from mlo import ConfigError, DataError

CONFIG, GENOTYPE, RESULTS = "config.json", "genotype.json", "results.json"
_PACKAGES = ("torch", "torchopt", "torchvision", "numpy", "scikit-learn", "mlo-torch")


@contextmanager
def new_folder(wanted: Path | None, parent: Path, stem: str) -> Iterator[Path]:
    """Make an empty folder for a run; if the run fails before it has written anything, take it away again.

    Args:
        wanted: The folder that the user named, or None for the first free PARENT/STEM-N.
        parent: Where to make it if none is named.
        stem: What to call it then.

    Yields:
        The folder.

    Raises:
        ConfigError: If the named folder holds something already, or cannot be made.
    """
    number = 1
    while wanted is None and (parent / f"{stem}-{number}").exists():
        number += 1
    folder = wanted if wanted is not None else parent / f"{stem}-{number}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not empty: name another with --out, or remove it")
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=wanted is not None)  # so that two runs at once never share a folder
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made ({error.strerror}): name another with --out") from error
    try:
        yield folder
    except BaseException:
        with suppress(OSError):  # not empty
            for path in missing:
                path.rmdir()
        raise


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: aside first, then renamed."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).chmod(0o644)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write plain data as JSON."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_config(folder: Path, settings: Any) -> None:
    """Write the resolved settings and the environment that they run in."""
    write_text(folder / CONFIG, to_json(settings))
    write_json(folder / "environment.json", _environment())


def read_search_settings(path: Path) -> SearchSettings:
    """Read the settings of a search from its folder or from a file.

    Raises:
        ConfigError: If there are none, or they are not well formed.
    """
    file = path / CONFIG if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"{file} does not exist: give the folder of a search, or the file of its settings")
    return from_json(SearchSettings, _read_text(file), str(file))


def read_genotype(source: str | Path) -> Genotype:
    """Read a cell: a name of the zoo, a genotype file, or the folder of a finished search.

    Raises:
        DataError: If there is none, or it is not well formed.
    """
    if str(source) in ZOO:
        return ZOO[str(source)]
    path = Path(source)
    file = path / GENOTYPE if path.is_dir() else path
    if not file.is_file():
        why = "neither a file nor a published cell"
        if path.is_dir():
            why = "the search has not finished" if (path / CONFIG).exists() else "that is no folder of a search"
        raise DataError(f"{file}: no genotype there ({why}); published cells are {', '.join(ZOO)}")
    return Genotype.from_json(_read_text(file))


def read_cost(folder: Path) -> int:
    """Read how many gradients a finished search took.

    Raises:
        DataError: If the folder does not say.
    """
    file = folder / RESULTS
    try:
        return int(json.loads(file.read_text(encoding="utf-8"))["gradients"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} does not tell what the search took: is {folder} a finished search?") from error


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as text: {error}") from error


def _environment() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return {**found, "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none"}


class MetricsFile:
    """A CSV file that gains one row at a time, on disk as soon as it is written."""

    def __init__(self, path: Path, columns: Sequence[str] | None = None) -> None:
        """Create the file; without `columns` the first row decides them. A row may lack some."""
        self._file = path.open("w", newline="", encoding="utf-8")
        self._writer: csv.DictWriter[str] | None = None
        self.columns: tuple[str, ...] = tuple(columns or ())
        self.rows: list[dict[str, float]] = []

    def write(self, row: Mapping[str, float]) -> None:
        """Append a row."""
        if self._writer is None:
            self.columns = self.columns or tuple(row)
            self._writer = csv.DictWriter(self._file, self.columns)
            self._writer.writeheader()
        self._writer.writerow(row)
        self._file.flush()
        self.rows.append(dict(row))

    def __enter__(self) -> MetricsFile:
        """Return self."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the file."""
        self._file.close()
