"""One point of a sweep in its folder: a search, and the retraining of its cell."""

from __future__ import annotations

import shutil
from pathlib import Path

from applications.nas.config_file import renewed, to_json
from applications.nas.jobs import Reporter
from applications.nas.retrain.run import retrain_run
from applications.nas.run_folder import CONFIG, FAILURE, GENOTYPE, RESULTS, read_genotype
from applications.nas.search import search
from applications.nas.settings import RetrainSettings, SearchSettings
from mlo import ConfigError

RETRAIN = "retrain"
"""Where the retraining is, inside the folder of the search."""


def run_point(
    name: str, settings: SearchSettings, retrain: RetrainSettings | None, folder: Path, report: Reporter
) -> None:
    """Do what is missing of a point; what is half done begins again.

    Args:
        name: What to call its cell.
        settings: Its search, complete.
        retrain: Its retraining, if there is one.
        folder: Its folder.
        report: Told how far it is.
    """
    if finished(folder, retrain):  # as for a job that a scheduler runs once more
        return
    clear(folder)
    if not searched(folder):
        search(settings, folder, report.begin("search"))
    if retrain is not None:
        (folder / RETRAIN).mkdir()
        arguments = (read_genotype(folder), name, settings, retrain, folder / RETRAIN, report.begin)
        retrain_run(*arguments, search=folder)


def searched(folder: Path) -> bool:
    """Say whether the search has ended."""
    # README.md is what a search writes last; a search that was ended before may lack pictures.
    return all((folder / name).is_file() for name in (RESULTS, GENOTYPE, "README.md"))


def finished(folder: Path, retrain: RetrainSettings | None) -> bool:
    """Say whether nothing of a point is missing."""
    return searched(folder) and (retrain is None or (folder / RETRAIN / RESULTS).is_file())


def check_unchanged(folder: Path, settings: SearchSettings, retrain: RetrainSettings | None) -> None:
    """Refuse a folder whose search or retraining has other settings than those asked for.

    Raises:
        ConfigError: The message names the folder.
    """
    wanted: list[tuple[Path, SearchSettings | RetrainSettings]] = [(folder / CONFIG, settings)]
    if retrain is not None:
        wanted.append((folder / RETRAIN / CONFIG, retrain))
    for file, asked in wanted:
        if file.is_file() and renewed(type(asked), file.read_text(encoding="utf-8")) != to_json(asked):
            raise ConfigError(
                f"{file} holds other settings than the sweep asks for now: name another folder with --out, or remove "
                f"{file.parent}"
            )


def clear(folder: Path) -> None:
    """Take away what is half done, so that it can be started again."""
    if not searched(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    (folder / FAILURE).unlink(missing_ok=True)
    if not (folder / RETRAIN / RESULTS).is_file():
        shutil.rmtree(folder / RETRAIN, ignore_errors=True)
