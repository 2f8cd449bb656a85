"""The folder of a sweep: which sweep it holds, and that only one program works in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from applications.nas.config_file import from_json, renewed, to_json
from applications.nas.lock import locked
from applications.nas.run_folder import write_text
from applications.nas.sweep.study import Swept
from mlo import ConfigError

SWEEP = "sweep.json"
_LOCK = ".lock"
_KINDS: Any = Swept


def read_sweep(folder: Path) -> Swept:
    """Read what a folder sweeps.

    Raises:
        ConfigError: If it is the folder of no sweep.
    """
    file = folder / SWEEP
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: give the folder of a sweep") from error
    settings: Swept = from_json(_KINDS, text, str(file))
    return settings


def find_folder(settings: Swept, wanted: Path | None, parent: Path, stem: str) -> Path:
    """Return the folder for a sweep: the named one, the one that holds this sweep already, or the first free one."""
    number = 1
    while wanted is None and (parent / f"{stem}-{number}").exists():
        candidate = parent / f"{stem}-{number}"
        with suppress(OSError, UnicodeDecodeError):
            if renewed(_KINDS, (candidate / SWEEP).read_text(encoding="utf-8")) == to_json(settings):
                return candidate
        number += 1
    return wanted if wanted is not None else parent / f"{stem}-{number}"


@contextmanager
def sweep_folder(folder: Path, settings: Swept) -> Iterator[None]:
    """Work in the folder of a sweep, alone.

    Args:
        folder: Made if it does not exist; otherwise empty, or that of this very sweep.
        settings: The sweep.

    Raises:
        ConfigError: If the folder holds something else, or another program works in it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        _check_same(folder, settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made ({error.strerror}): name another with --out") from error
    with _alone(folder):
        if not (folder / SWEEP).exists():
            write_text(folder / SWEEP, to_json(settings))
        _check_same(folder, settings)  # again: another may have begun in between
        yield


def _check_same(folder: Path, settings: Swept) -> None:
    file = folder / SWEEP
    if not file.is_file():
        if folder.is_dir() and {path.name for path in folder.iterdir()} <= {_LOCK}:
            return  # a sweep that was ended before it wrote anything
        raise ConfigError(f"{folder} exists and is not empty, and holds no sweep: name another with --out")
    text, wanted = renewed(_KINDS, file.read_text(encoding="utf-8")), to_json(settings)
    if text != wanted:
        try:
            where = _first_difference(json.loads(text), json.loads(wanted), "")
        except ValueError as error:
            raise ConfigError(f"{file} is not JSON: {error}") from error
        raise ConfigError(f"{folder} holds another sweep ({where}): name another folder with --out")


def _first_difference(old: Any, new: Any, path: str) -> str:
    """Say where two pieces of plain data begin to differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            if old.get(key) != new.get(key):
                return _first_difference(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            if pair[0] != pair[1]:
                return _first_difference(*pair, f"{path}[{index}]")
    return f"{path} is {_short(old)} there, {_short(new)} here"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with locked(folder / _LOCK) as alone:
        if not alone:
            raise ConfigError(f"{folder}: another program runs this sweep now: wait for it, or end it")
        yield
