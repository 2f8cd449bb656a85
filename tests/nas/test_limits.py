"""Requests that once went through and meant nothing, and work that was once lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from applications.nas import search as module
from applications.nas import search_record
from applications.nas.cli import main
from applications.nas.data import Images, Task
from applications.nas.presets import SEARCH
from applications.nas.run_folder import read_genotype
from applications.nas.settings import GradientSettings, SearchSettings, SupernetSettings
from mlo import ConfigError, DataError

ROOT = Path(__file__).parents[2]


def test_two_cells_leave_no_normal_one() -> None:
    with pytest.raises(ConfigError, match="layers=2 leaves no normal cell to search: take at least 3"):
        SearchSettings(supernet=SupernetSettings(layers=2))


def test_one_class_is_no_task() -> None:
    images = Images(torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(DataError, match="task 't': one class leaves nothing to tell apart"):
        Task("t", ("only",), images, images, images, (0.0,), (1.0,))


def test_the_unstable_form_can_be_insisted_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", "digits", "--formulation.form", "explicit", "--formulation.weight", "100", "--epochs", "1"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "allow_unstable" in capsys.readouterr().err
    assert "--formulation.allow-unstable" in help_of(["search", "digits"], capsys)


def help_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main([*words, "--help"]) == 0
    return capsys.readouterr().out


def test_a_cell_survives_a_picture_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(search_record, "draw_search", fail)
    net = SupernetSettings(nodes=1, primitives=("none", "skip_connect", "max_pool_3x3"), channels=2, layers=3)
    settings = replace(SEARCH["digits"][1], supernet=net, epochs=1, batch=300, gradient=GradientSettings("first"))
    with pytest.raises(OSError, match="no space"):
        module.search(settings, tmp_path)
    assert read_genotype(tmp_path).normal.nodes == 1


def test_a_picture_is_named_as_asked(tmp_path: Path) -> None:
    assert main(["draw", "PDARTS", "--out", str(tmp_path / "cell.png")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cell.png", "cell.svg"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "applications.nas", "demo", "--out", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    parent = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        started = tmp_path / "run" / "interleaving" / "metrics.csv"
        assert waited(lambda: started.exists(), 60)
        parent.kill()
        parent.wait()
        assert waited(lambda: not group_lives(parent.pid), 20)
    finally:
        if group_lives(parent.pid):
            os.killpg(parent.pid, signal.SIGKILL)


def waited(done, seconds: float) -> bool:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if done():
            return True
        time.sleep(0.2)
    return False


def group_lives(group: int) -> bool:
    """Tell whether a process of the group still runs; one that has ended and waits for its parent does not count."""
    return any(state != "Z" and int(member) == group for state, member in map(state_and_group, processes()))


def processes() -> list[Path]:
    return [path for path in Path("/proc").iterdir() if path.name.isdigit()]


def state_and_group(process: Path) -> tuple[str, str]:
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return "Z", "0"
    return fields[0], fields[2]
