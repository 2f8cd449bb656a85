"""The folder of a run: made late, never shared, and described by its settings and its environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from applications.nas.config_file import to_json
from applications.nas.files import write_json, write_text
from applications.nas.refusal import as_line
from applications.nas.run_folder.environment import environment
from applications.nas.stopping import Stopped
from mlo import ConfigError

CONFIG, GENOTYPE, RESULTS, ENVIRONMENT = "config.json", "genotype.json", "results.json", "environment.json"
FAILURE = "failure.txt"
"""Why a run failed after it had begun: in its folder, the error on the first line."""
SPLITS = "splits.json"
"""File of a search's folder that says which images were used for what."""
DATA = "data.json"
"""File of a retraining's folder that says what was learned, a `RetrainData`."""


@contextmanager
def new_folder(wanted: Path | None, parent: Path, stem: str) -> Iterator[Path]:
    """Make an empty folder for a run; if the run fails before it has written anything, take it away again.

    If it fails later, the folder stays, and `failure.txt` in it says why.

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
        with failing(folder):
            yield folder
    except BaseException:
        with suppress(OSError):  # not empty
            for path in missing:
                path.rmdir()
        raise


@contextmanager
def failing(folder: Path) -> Iterator[None]:
    """Say in the folder of a run why it failed, once it has written anything; what was said before is no more true.

    Args:
        folder: Of a run that begins, or goes on.
    """
    try:
        yield
    except Stopped:  # it has not failed
        raise
    except Exception as error:
        if folder.is_dir() and any(folder.iterdir()):
            error.add_note(f"what was done until then is in {folder}")
            with suppress(OSError):
                (folder / FAILURE).write_text(f"{as_line(error)}\n", encoding="utf-8")
        raise


def write_config(folder: Path, settings: Any) -> None:
    """Write the resolved settings and the environment that they run in."""
    write_text(folder / CONFIG, to_json(settings))
    write_json(folder / ENVIRONMENT, environment())
