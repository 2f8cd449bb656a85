"""What commands of the pages take for granted: data in their published layouts, and runs that were made before."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import mlo
from applications.nas.cli import main
from applications.nas.retrain.trainer import Trainer
from tests.nas.pictures import write_folder
from tests.nas.published_data import write_cifar
from tests.nas.test_data_mnist import write_mnist
from tests.nas.ways import RETRAIN, SEARCH

SMALL_SEARCH, SMALL_RETRAIN = f"{SEARCH} --batch 80", f"{RETRAIN} --batch 100"


class Props:
    """Puts what a command names, and is not there, into the current folder; runs are made once and copied."""

    def __init__(self, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make runs in a folder that outlives a test; what torchvision expects is changed for one test."""
        self._store, self._patch = store, monkeypatch

    def provide(self, text: str) -> None:
        """Provide what a command needs."""
        if "cifar" in text or "darts-" in text:
            found = re.search(r"--data\.root (\S+)", text)
            write_cifar(Path(found[1] if found and "imagenet" not in found[1] else "data"), self._patch)
        if "data:fashion" in text:
            for name in ("FashionMNIST", "MNIST"):
                write_mnist(Path("data"), self._patch, name, count=160)
        for name in ("cats", "dogs", "photos"):
            if re.search(rf"\b{name}\b", text):
                write_folder(Path(name), {"train": 24, "test": 2})
        if "imagenet" in text:
            for root in ("imagenet", "data/imagenet"):
                write_folder(Path(root), {"train": 40, "val": 2})
        self._runs(text)

    def _runs(self, text: str) -> None:
        resumed = re.search(r"(\w+) --resume (\S+)", text)
        if resumed:
            shutil.rmtree(resumed[2], ignore_errors=True)
            self._put(f"stopped {resumed[1]}", Path(resumed[2]))
            return
        for name in re.findall(r"\bruns/[\w.-]+(?:/[\w.-]+)?", text):
            if not Path(name).exists():
                self._put(name, Path(name))

    def _put(self, key: str, place: Path) -> None:
        """Copy a run; make it if it never was."""
        kept = self._store / key.replace("/", "-")
        if not kept.exists():
            kept.mkdir()
            with pytest.MonkeyPatch.context() as moved:
                moved.chdir(kept)
                if "darts-" in key:
                    write_cifar(Path("data"), self._patch)
                MAKERS[key](Path("run"))
        shutil.copytree(kept / "run", place)


def _search(folder: Path, preset: str = "digits") -> None:
    assert main(["search", preset, *SMALL_SEARCH.split(), "--out", str(folder)]) == 0


def _retraining(folder: Path) -> None:
    _search(Path("search"))
    assert main(["retrain", "digits", "--run", "search", *SMALL_RETRAIN.split(), "--out", str(folder)]) == 0


def _stopped_search(folder: Path) -> None:
    with _stopped(mlo.Engine, "step"):
        assert main(["search", "digits", *SMALL_SEARCH.split(), "--out", str(folder)]) == 143


def _stopped_retraining(folder: Path) -> None:
    words = ["retrain", "digits", "--cell", "DARTS_V1", "data:digits", *SMALL_RETRAIN.split(), "--out", str(folder)]
    with _stopped(Trainer, "step"):
        assert main(words) == 143


def _stopped_sweep(folder: Path) -> None:
    """Make a sweep of two points, and take one away."""
    assert main(["sweep", "digits", "--vary", "seed", "0", "1", *SMALL_SEARCH.split(), "--out", str(folder)]) == 0
    shutil.rmtree(folder / "seed=1")


@contextmanager
def _stopped(holder: type, name: str) -> Iterator[None]:
    """Let the second call of a method ask this process to stop, as `kill` does."""
    inner, calls = getattr(holder, name), [0]

    def asked(*arguments: object, **options: object) -> object:
        calls[0] += 1
        if calls[0] == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(holder, name, asked)
        yield


MAKERS: dict[str, Callable[[Path], None]] = {
    "runs/digits-1": _search,
    "runs/digits-1/retrain-1": _retraining,
    "runs/evidence-table-cpu-1": _retraining,  # stands in for a study, which takes hours
    "runs/darts-2nd-paper-1": lambda folder: _search(folder, "darts-2nd-paper"),
    "stopped search": _stopped_search,
    "stopped retrain": _stopped_retraining,
    "stopped sweep": _stopped_sweep,
}
"""How each run that the pages name is made."""
