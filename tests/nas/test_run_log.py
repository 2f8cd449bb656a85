"""The log of a run: rows of any columns as CSV, the same for TensorBoard, and neither ends a run without need."""

from __future__ import annotations

import builtins
import csv
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from applications.nas.run_folder import MetricsFile, RunLog, read_metrics
from applications.nas.run_folder.tensorboard import EVENTS, NOT_INSTALLED, EventFiles
from mlo import DataError

ROWS: list[dict[str, float]] = [
    {"step": 1, "loss/train": 2.5},
    {"step": 2, "loss/train": 2.0, "loss/architecture": 0.1 + 0.2},
    {"step": 3, "loss/architecture": math.nan},
]


def table(file: Path) -> list[list[str]]:
    with file.open(newline="") as opened:
        return list(csv.reader(opened))


def test_fixed_columns_leave_cells_empty(tmp_path: Path) -> None:
    with MetricsFile(tmp_path / "metrics.csv", ["step", "loss/architecture", "loss/train"]) as metrics:
        assert table(tmp_path / "metrics.csv") == [["step", "loss/architecture", "loss/train"]], "there before any row"
        for row in ROWS:
            metrics.write(row)
    assert table(tmp_path / "metrics.csv")[1:] == [
        ["1", "", "2.5"],
        ["2", "0.30000000000000004", "2.0"],
        ["3", "nan", ""],
    ]


def test_a_new_column_is_appended_and_the_file_goes_on(tmp_path: Path) -> None:
    with MetricsFile(tmp_path / "metrics.csv") as metrics:
        for number, row in enumerate(ROWS, start=1):
            metrics.write(row)
            assert len(table(tmp_path / "metrics.csv")) == 1 + number, "on disk at once"
    assert table(tmp_path / "metrics.csv")[0] == ["step", "loss/train", "loss/architecture"]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]
    read = read_metrics(tmp_path)
    assert read[:2] == ROWS[:2]
    assert list(read[2]) == ["step", "loss/architecture"]
    assert math.isnan(read[2]["loss/architecture"])


def test_a_row_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,lr\r\n1,0.5\r\n2,0.")
    assert read_metrics(tmp_path) == [{"step": 1.0, "lr": 0.5}]
    (tmp_path / "metrics.csv").write_text("")
    assert read_metrics(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"metrics.csv cannot be read \(No such file"),
        ("step,lr\n1\n", "line 2 has not as many cells"),
        ("step,lr\n1,2,3\n", "line 2 has not as many cells"),
        ("step,lr\n1,2\n2,x\n", "line 3: could not convert string to float: 'x'"),
    ],
)
def test_metrics_that_cannot_be_read(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_metrics(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_disk_that_is_full_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="/dev/full cannot be written") as told:
        MetricsFile(Path("/dev/full"), ["step"])
    assert str(told.value).endswith("choose another folder with --out")

    def write_until_full() -> None:
        with MetricsFile(tmp_path / "metrics.csv", ["step"]) as metrics:
            metrics.write({"step": 1})
            metrics._file.close()
            metrics._file = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115  # closed by what is tested
            metrics.write({"step": 2})

    with pytest.raises(DataError, match=r"metrics.csv cannot be written \(No space left on device\)"):
        write_until_full()
    assert read_metrics(tmp_path) == [{"step": 1.0}]


def test_event_files_of_a_clock_that_was_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers go by names, which begin with the time: each step is still shown once, in the same second as well."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for round_, clock in enumerate((1_700_000_500.0, 1_700_000_500.0, 1_700_000_100.0, 1_700_000_050.0)):
        monkeypatch.setattr(time, "time", lambda clock=clock: clock)
        monkeypatch.setattr(os, "getpid", lambda round_=round_: 9000 - round_)
        with EventFiles(tmp_path, after=2 * round_ if round_ else None) as events:
            for step in range(2 * round_ + 1, 2 * round_ + 5):  # those behind the second are done again
                events.write({"step": step, "loss/train": round_})
    events = accumulator.EventAccumulator(str(tmp_path / EVENTS))
    events.Reload()
    found = [(one.step, one.value) for one in events.Scalars("loss/train")]
    assert found == [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2), (7, 3), (8, 3), (9, 3), (10, 3)]


def test_event_files_hold_what_was_logged(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with RunLog(tmp_path, ["step"]) as log:
        for row in ROWS[:2]:
            log.write(row)
        log.write_tables(2, {"alphas/normal": torch.tensor([[0.25, math.inf]]), "none": torch.tensor([math.nan])})
        assert log.note == ""
        assert log.rows == ROWS[:2]
    events = accumulator.EventAccumulator(str(tmp_path / EVENTS))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("loss/train")] == [(1, 2.5), (2, 2.0)]
    assert events.Histograms("alphas/normal")[0].histogram_value.num == 1, "infinity has no place in a histogram"
    assert events.Tags()["histograms"] == ["alphas/normal"]


def test_importing_tensorboard_warns_of_nothing() -> None:
    pytest.importorskip("tensorboard")
    program = "from applications.nas.run_folder.tensorboard import EventFiles; import torch.utils.tensorboard"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_tensorboard_there_is_a_note_and_the_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "torch.utils.tensorboard":
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with RunLog(tmp_path) as log:
        log.write(ROWS[0])
        log.write_tables(1, {"alphas": torch.zeros(2)})
    assert log.note == NOT_INSTALLED
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_events_that_cannot_be_written_end_no_run(tmp_path: Path) -> None:
    class Broken:
        def add_scalar(self, *_: object) -> None:
            raise OSError(28, "No space left on device")

    events = EventFiles(tmp_path)
    events.close()
    events._writer = Broken()
    events.write(ROWS[0])
    events.write(ROWS[1])
    events.close()
    assert events.note == "TensorBoard's event files end early (No space left on device); metrics.csv has all numbers"
