"""The files of a run on a disk that fails at any moment, and a folder that two processes want."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from applications.nas.cli import main
from applications.nas.files import read_json, tidy, write_json, write_text
from applications.nas.run_folder import MetricsFile, RunLog, read_metrics
from applications.nas.run_folder.held import LOCK, held
from applications.nas.run_folder.tensorboard import EventFiles
from applications.nas.sealed import read_sealed, write_sealed
from mlo import ConfigError, DataError
from tests.faults import Faults, each_fault

STATES = [{"a": torch.arange(4.0), "step": number} for number in (1, 2)]


def told(error: Exception | None, name: str) -> None:
    assert isinstance(error, DataError), error
    message = str(error)
    assert name in message
    assert "cannot be written" in message
    assert message.endswith("free some space, or choose another folder with --out")
    assert "\n" not in message


def plain(state: Any) -> Any:
    return {"a": state["a"].tolist(), "step": state["step"]}


WRITERS: dict[str, tuple[Callable[[Path, Any], None], Callable[[Path], Any]]] = {
    "state.pt": (write_sealed, lambda path: plain(read_sealed(path, "begin again"))),
    "state.json": (lambda path, state: write_json(path, plain(state)), lambda path: read_json(path, "begin again")),
}


@pytest.mark.parametrize("onward", [False, True])
@pytest.mark.parametrize("name", list(WRITERS))
def test_a_file_is_whole_whatever_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, onward: bool
) -> None:
    file, (write, read) = tmp_path / name, WRITERS[name]
    old, new = STATES
    seen = set()
    faults = each_fault(
        monkeypatch, lambda: write(file, new), before=lambda: (tidy(tmp_path), write(file, old)), onward=onward
    )
    for what, error in faults:
        seen.add(what)
        told(error, name)
        assert read(file) == plain(old)
        if not onward:  # a disk that takes no writes any more keeps what lies aside
            assert [path.name for path in tmp_path.iterdir()] == [name]
    assert {"open", "fsync", "replace"} <= seen


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """The system itself refuses to let files grow; the limit is lifted again afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name, (write, read) in WRITERS.items():
        write(tmp_path / name, STATES[0])
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
        try:
            with pytest.raises(DataError, match="File too large") as caught:
                write(tmp_path / name, STATES[1])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        told(caught.value, name)
        assert read(tmp_path / name) == plain(STATES[0])
    assert {path.name for path in tmp_path.iterdir()} == set(WRITERS)


def test_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are lost only from where the disk failed; what is there can be read."""

    def work() -> None:
        with MetricsFile(tmp_path / "metrics.csv", ["step"]) as file:
            for step in range(3):
                file.write({"step": float(step)})
            file.write({"step": 3.0, "loss/a": 1.0})  # the file is written anew, with this column
            file.write({"step": 4.0, "loss/a": 2.0})

    count = 0
    for _, error in each_fault(monkeypatch, work):
        told(error, "metrics.csv")
        if (tmp_path / "metrics.csv").is_file():
            steps = [row["step"] for row in read_metrics(tmp_path)]
            assert steps == [float(step) for step in range(len(steps))]
        count += 1
    assert count > 8
    work()
    assert len(read_metrics(tmp_path)) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_event_files_never_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They repeat what `metrics.csv` has: where they cannot be written, that is noted."""
    pytest.importorskip("torch.utils.tensorboard")
    EventFiles(tmp_path / "first").close()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with RunLog(tmp_path, ["step"]) as log:
        log.write({"step": 0.0})
        monkeypatch.setattr(log._events._writer, "add_scalar", full)
        log.write({"step": 1.0, "loss/a": 0.5})
        log.write({"step": 2.0, "loss/a": 0.5})
        assert "end early (No space left on device)" in log.note
    assert len(read_metrics(tmp_path)) == 3
    with Faults(monkeypatch, 0, onward=True):
        events = EventFiles(tmp_path / "other")
        events.write({"step": 0.0, "loss/a": 0.5})
        events.close()
    assert events.note


def test_evaluate_says_which_file_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results.json").write_text("[" * 100_000)
    assert main(["evaluate", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "results.json is not JSON" in message


# ---------------------------------------------------------------- two processes in one folder

HOLDS = """
import sys, time
from pathlib import Path
from applications.nas.run_folder.held import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Start another process that works in a folder; return once it does."""
    words = [sys.executable, "-c", HOLDS, str(folder)]
    process = subprocess.Popen(words, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        try:
            pattern = rf"{tmp_path.name}: another process works there \(process {other.pid} of .*\): wait for its end"
            for _ in range(3):
                with pytest.raises(ConfigError, match=pattern), held(tmp_path):
                    pass
            assert other.poll() is None
            assert (tmp_path / LOCK).read_text().startswith(f"process {other.pid} ")
        finally:
            other.send_signal(signal.SIGKILL)
    with held(tmp_path):  # the system has let go of it
        assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()} ")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        with held(tmp_path):
            write_text(tmp_path / "mine", "text")

    for _, error in each_fault(monkeypatch, work, onward=True):
        if error is not None:
            assert isinstance(error, DataError)
            assert tmp_path.name in str(error)
    with pytest.raises(DataError, match="nowhere cannot be written"), held(tmp_path / "nowhere"):
        pass
    (tmp_path / LOCK).write_bytes(b"\xff" * 1000)  # what is in it is only told
    with held(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()
