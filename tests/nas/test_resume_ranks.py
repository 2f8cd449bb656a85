"""A search of two ranks that loses one, is stopped and resumed: the one that was not, bit for bit."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from applications.nas.cli import main
from applications.nas.config_file import to_json
from applications.nas.files import read_json
from applications.nas.methods import PDarts
from applications.nas.run_folder import read_metrics
from applications.nas.search import record
from applications.nas.settings import (
    CheckpointSettings,
    GradientSettings,
    Interleaving,
    ParallelSettings,
    SearchSettings,
    SupernetSettings,
)
from tests.nas.interrupted import assert_same_search, kill_after
from tests.nas.torchrun import TORCHRUN, children, ended, fork, kill, module, tell, wait_for

SETTINGS = SearchSettings(
    supernet=SupernetSettings(nodes=1, primitives=("none", "skip_connect", "dil_conv_3x3"), channels=2, layers=3),
    gradient=GradientSettings("first"),
    method=PDarts(deeper=(0, 0), kept=(1.0, 0.7), dropout=(0.2, 0.3)),
    formulation=Interleaving(),
    epochs=2,
    batch=80,
    device="cpu",
    checkpoint=CheckpointSettings(share=1.0),
)


def steps(folder: Path) -> int:
    """Count the steps that a search has written down."""
    return len(read_metrics(folder)) if (folder / "metrics.csv").is_file() else 0


def in_ranks(words: list[str], killed_after: int | None = None) -> int:
    """Run the command in two ranks, copies of this process; the second may kill itself. Return how that ended."""
    child = os.fork()
    if child == 0:

        def rank() -> None:
            if killed_after is not None and os.environ["RANK"] == "1":
                kill_after(killed_after)
            main(words)

        try:
            fork(2, rank)
        except SystemExit:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("stages", [1, 2], ids=["batches", "stages"])
def test_a_rank_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: int) -> None:
    """In the first stage of P-DARTS, and in the second one."""
    monkeypatch.setattr(record, "draw_search", lambda *_: ([], []))
    asked = tmp_path / "asked.json"
    asked.write_text(to_json(replace(SETTINGS, parallel=ParallelSettings(stages=stages))))
    words, run = ["search", "--config", str(asked), "--out"], tmp_path / "run"
    assert in_ranks([*words, str(tmp_path / "whole")]) == 0
    assert in_ranks([*words, str(run)], killed_after=9) == 1
    came = steps(run)
    assert 2 <= came < 8
    assert in_ranks(["search", "--resume", str(run)], killed_after=15) == 1
    assert came < steps(run) < 16
    assert in_ranks(["search", "--resume", str(run)]) == 0
    assert_same_search(tmp_path / "whole", run)


@pytest.mark.timeout(240)
def test_torchrun_starts_them_again_and_all_are_stopped(tmp_path: Path) -> None:
    """A rank that is killed goes on with the other one by itself; after SIGTERM a user makes them go on."""
    (tmp_path / "asked.json").write_text(to_json(SETTINGS))
    run = tmp_path / "run"
    words = ("applications.nas", "search", "--config", "asked.json", "--out", "run")
    with module(*TORCHRUN, "--max-restarts", "2", "-m", *words, folder=tmp_path) as job:
        wait_for(lambda: steps(run) >= 3)
        kill(next(number for number, rank in children(job.pid).items() if rank == 1))
        wait_for(lambda: (run / "environment.json").is_file() and "resumed" in read_json(run / "environment.json", ""))
        came = steps(run)
        wait_for(lambda: steps(run) >= came + 2)
        tell(job, signal.SIGTERM)
        code, _, err = ended(job)
        assert code != 0
        assert err.count("stopped by SIGTERM after step") == 1, err
        assert "`mlo-nas search --resume run` goes on" in err
    assert steps(run) < 16
    whole = str(tmp_path / "whole")
    assert in_ranks(["search", "--config", str(tmp_path / "asked.json"), "--out", whole]) == 0
    assert in_ranks(["search", "--resume", str(run)]) == 0
    assert_same_search(tmp_path / "whole", run)
