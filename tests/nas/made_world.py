"""Stands in for searching and retraining at the points of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from applications.nas._lane import Failure
from applications.nas.jobs import Job
from applications.nas.settings import RetrainSettings, SearchSettings
from applications.nas.space.genotype import Genotype
from applications.nas.space.zoo import ZOO
from applications.nas.stopping import Stopper
from applications.nas.sweep import pictures as pictures_module
from applications.nas.sweep import point as point_module
from applications.nas.sweep.launch import local as local_module
from tests.nas.made_runs import made_retraining, made_search

Measure = Callable[[str, SearchSettings, int], float]
"""The test error of a task, a search and the seed of a retraining."""


class Silent:
    """A reporter that tells nobody."""

    def __call__(self, done: int, total: int, text: str) -> None:
        pass

    def begin(self, label: str) -> Silent:
        return self


class World:
    """Stands in for searching and retraining; tells what was asked for, and fails where it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Measure) -> None:
        self.error = error
        self.searched: list[str] = []
        self.retrained: list[str] = []
        self.broken: dict[str, Exception] = {}
        monkeypatch.setattr(point_module, "search", self.search)
        monkeypatch.setattr(point_module, "read_genotype", lambda folder: ZOO["DARTS_V2"])
        monkeypatch.setattr(point_module, "retrain_run", self.retrain)
        monkeypatch.setattr(local_module, "try_jobs", self.jobs)
        monkeypatch.setattr(pictures_module, "draw_axis", self.draw)

    def search(self, settings: SearchSettings, folder: Path, tick: object, *, stopper: Stopper) -> None:
        assert not folder.exists(), "a search begins in a new folder"
        self.searched.append(folder.name)
        made_search(folder, settings)
        if f"search {folder.name}" in self.broken:
            (folder / "README.md").unlink()
            raise self.broken[f"search {folder.name}"]

    def retrain(
        self,
        architecture: Genotype,
        name: str,
        searched: SearchSettings,
        settings: RetrainSettings,
        folder: Path,
        begin: Callable[[str], object],
        *,
        search: Path | None,
        resumed: bool,
        stopper: Stopper,
    ) -> None:
        assert not resumed
        assert list(folder.iterdir()) == [], "a retraining begins in an empty folder"
        self.retrained.append(name)
        errors = {task: [self.error(task, searched, seed) for seed in settings.seeds] for task in ("digits", "loops")}
        made_retraining(folder, errors, search=search, cell=name, settings=settings, genotype=architecture.to_json())
        if f"retrain {name}" in self.broken:
            (folder / "results.json").unlink()
            raise self.broken[f"retrain {name}"]

    def draw(self, *arguments: Any) -> tuple[Path, Path]:
        files = Path(f"{arguments[-1]}.svg"), Path(f"{arguments[-1]}.png")
        for file in files:
            file.touch()
        return files

    def jobs(
        self, jobs: Sequence[Job], console: Console, *, workers: int, whole: str, ended: Callable[[int, Any], None]
    ) -> list[Any]:
        for index, job in enumerate(jobs):
            try:
                job.function(*job.arguments, Silent())
            except Exception as raised:
                ended(index, Failure(raised))
        return []
