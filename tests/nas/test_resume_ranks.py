"""A search of two ranks that loses one, is stopped and resumed: the one that was not, bit for bit."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from applications.nas.config_file import to_json
from applications.nas.files import read_json
from applications.nas.methods import PDarts
from applications.nas.run_folder import read_metrics
from applications.nas.settings import (
    CheckpointSettings,
    GradientSettings,
    Interleaving,
    ParallelSettings,
    SearchSettings,
    SupernetSettings,
)
from tests.nas.interrupted import assert_same_search
from tests.nas.torchrun import TORCHRUN, children, ended, kill, module, wait_for

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


@pytest.mark.timeout(240)
@pytest.mark.parametrize("stages", [1, 2], ids=["batches", "stages"])
def test_a_rank_is_killed_and_all_are_stopped(tmp_path: Path, stages: int) -> None:
    """torchrun starts the ranks again after a kill; after SIGTERM a user does."""
    (tmp_path / "asked.json").write_text(to_json(replace(SETTINGS, parallel=ParallelSettings(stages=stages))))
    asked = ("applications.nas", "search", "--config", "asked.json", "--out")
    with module(*TORCHRUN, "-m", *asked, "whole", folder=tmp_path) as job:
        code, _, err = ended(job)
        assert code == 0, err
    run = tmp_path / "run"
    with module(*TORCHRUN, "--max-restarts", "2", "-m", *asked, "run", folder=tmp_path) as job:
        wait_for(lambda: steps(run) >= 3)
        kill(next(number for number, rank in children(job.pid).items() if rank == 1))
        wait_for(lambda: (run / "environment.json").is_file() and "resumed" in read_json(run / "environment.json", ""))
        came = steps(run)
        wait_for(lambda: steps(run) >= came + 2)
        job.send_signal(signal.SIGTERM)
        code, _, err = ended(job)
        assert code != 0
        assert err.count("stopped by SIGTERM after step") == 1, err
        assert "`mlo-nas search --resume run` goes on" in err
    assert steps(run) < 16
    with module(*TORCHRUN, "-m", "applications.nas", "search", "--resume", "run", folder=tmp_path) as job:
        code, _, err = ended(job)
        assert code == 0, err
    assert_same_search(tmp_path / "whole", run)
