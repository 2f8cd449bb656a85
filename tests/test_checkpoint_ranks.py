"""A checkpoint of one process, restored on two ranks, saved by them, and restored by one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mlo
from tests.checkpoints import after, assert_same, small

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 60


def launched(folder, size):
    """Run the ranks to their end, and return what each found."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "PYTHONPATH": str(ROOT)}
    commands = [
        [sys.executable, "-m", "tests.checkpoint_ranks", str(rank), str(size), str(folder)] for rank in range(size)
    ]
    options = {"cwd": ROOT, "env": environment, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, **options) for command in commands]
    try:
        errors = [process.communicate(timeout=LIMIT)[1] for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [process.returncode for process in started] == [0] * size, "\n".join(errors)
    return [json.loads((folder / f"found {rank}").read_text()) for rank in range(size)]


def test_one_to_two_ranks_and_back(tmp_path):
    mlo.save(after(2), tmp_path / "of one")
    (tmp_path / "file").write_text("in the way")
    first, second = launched(tmp_path, 2)

    for name in ("restored", "saved", "seen by all", "alone"):
        assert (first[name], second[name]) == (None, None)
    assert first["drawn"] != second["drawn"]
    assert "was saved by 1 rank, and there are 2 ranks: " in first["of another number"]
    here = small()
    with pytest.raises(mlo.DataError, match="was saved by 2 ranks, and there is 1 rank: start as many, or give place="):
        mlo.restore(here, tmp_path / "of two")
    assert mlo.restore(here, tmp_path / "of two", place=False) == {"of": 0}
    assert_same(here, after(3))

    # An error of one is an error of all, and the same one where it is nobody's alone.
    assert first["different"] == second["different"]
    assert first["different"].startswith(
        "DataError: rank 1: does not hold the same as rank 0, first in values/x/value: "
    )
    assert not (tmp_path / "different").exists()
    assert first["different folders"] == second["different folders"]
    assert "ConfigError: save: rank 1 was given" in first["different folders"]
    assert "file: cannot be written" in first["a full disk"]
    assert second["a full disk"].startswith("DataError: rank 0: ")
    assert first["gone on one"].startswith("DataError: rank 1: ")
    assert "nowhere: there is no such folder" in second["gone on one"]
    assert "rank 1 sees another checkpoint" in first["other on one"]
    for rank in range(2):
        mlo.restore(here, tmp_path / f"alone {rank}")
        assert_same(here, after(1 + rank))
