"""Searches and retrainings that really run: what fails on the way is told, and the folder says why."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from applications.nas.cli import main
from applications.nas.retrain import run as retrain_run
from applications.nas.retrain import train
from applications.nas.search import record
from mlo import DivergenceError
from tests.fuzz.harness import cases, command, scratch
from tests.fuzz.image_trees import build, encoded, trees

TINY = "--epochs 1 --batch 2 --supernet.nodes 1 --supernet.channels 2 --supernet.primitives skip_connect sep_conv_3x3"
SEARCH = f"search folders --data.roots root --data.subset None --data.side 8 --gradient.rule first --device cpu {TINY}"
RETRAIN = "retrain digits --cell DARTS_V1 data:digits --data.tasks loops --epochs 1 --channels 2 --layers 3 --batch 600"
ODD = [
    "--weights.lr 1e30",
    "--weights.lr 1e-300",
    "--formulation.weight 1e300",
    "--architecture.lr 1e38",
    "--watch.skips 1",
]
ODD += [
    "--weights.clip 1e-300",
    "--accumulate 2",
    "--data.lazy",
    "--data.lazy --data.workers 2",
    "--supernet.stem large",
]
ODD += ["formulation:multi", "--supernet.channels 1", "--batch 4", "--precision bfloat16", "--watch.eigenvalue 1"]
ODD += ["--gradient.rule difference --gradient.epsilon 1e-30", "--gradient.rule exact", "--weights.decay 1e30"]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take longer than all else."""
    monkeypatch.setattr(record, "draw_search", lambda _: ([], []))
    monkeypatch.setattr("applications.nas.search.run.write_sketch", lambda *_, **__: None)
    monkeypatch.setattr(retrain_run, "write_pages", lambda *_: None)


@cases("whole runs")
@given(st.data())
def test_a_search_on_odd_data_with_odd_settings(data: st.DataObject) -> None:
    files = data.draw(trees(("train", "test")))
    words = SEARCH.split()
    for odd in data.draw(st.lists(st.sampled_from(ODD), max_size=2, unique=True)):
        words += odd.split()
    with scratch() as folder:
        build(folder / "root", files)
        command("whole runs", words, folder, begins=True)


def test_a_broken_image_that_shows_late(capsys: pytest.CaptureFixture[str]) -> None:
    """Without the watch, which looks at a batch before the search begins."""
    with scratch() as folder:
        good = encoded("RGB", 8, 90)
        files: dict[str, bytes | str | None] = {
            f"{part}/{kind}/{n}.png": good for part in ("train", "test") for kind in "ab" for n in range(4)
        }
        files["train/b/3.png"] = good[:50]
        build(folder / "root", files)
        assert main([*SEARCH.split(), "--data.lazy", "--watch.no-gap"]) == 2
        told = capsys.readouterr()
        assert "3.png: cannot be read as an image" in told.err
        assert "what was done until then is in runs/folders-1" in told.err
        assert "3.png: cannot be read as an image" in Path("runs/folders-1/failure.txt").read_text()


def test_seeds_that_finish_beside_one_that_diverges(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    real = train.fit

    def fit(network: Any, task: Any, settings: Any, seed: int, *rest: Any, **how: Any) -> Any:
        if seed == 1:
            raise DivergenceError("retraining diverged (task 'loops', seed 1, epoch 1): lower weights.lr")
        return real(network, task, settings, seed, *rest, **how)

    monkeypatch.setattr(train, "fit", fit)
    with scratch() as folder, caplog.at_level(logging.WARNING, logger="mlo.nas"):
        assert main([*RETRAIN.split(), "--seeds", "0", "1", "2", "--out", "there"]) == 2
        told = capsys.readouterr()
        assert "n=2" in told.out, "the table of those that have finished"
        assert "seed 1" in told.err
        assert "2 of 3 trainings have finished and are kept in there" in told.err
        assert "seed 1" in caplog.text, "told when it happens, too"
        monkeypatch.setattr(train, "fit", real)
        assert (folder / "there" / "failure.txt").is_file()
        assert main(["retrain", "--resume", "there"]) == 0
        assert "n=3" in capsys.readouterr().out
        assert not (folder / "there" / "failure.txt").exists()


def test_what_tyro_says_is_one_line_on_any_terminal() -> None:
    """It draws its boxes with other signs where the output is no UTF-8, which the other tests do not see."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C", "COLUMNS": "40"}
    call = [sys.executable, "-m", "applications.nas", "search", "digits", "--epoch", "3"]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    told = "error: search: unrecognized options: --epoch, 3: did you mean --epochs? `mlo-nas search digits --help`"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{told} lists the options\n"
