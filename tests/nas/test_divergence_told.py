"""A search whose numbers are not finite names the task, the step and the batch, on one line of the command."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import mlo
from applications.nas.cli import main
from applications.nas.data.memory import Batches
from applications.nas.formulations import build_graph
from applications.nas.run_folder import read_metrics
from applications.nas.search import record, search
from applications.nas.settings import (
    GradientSettings,
    Interleaving,
    MultiTask,
    SearchSettings,
    SingleTask,
    SupernetSettings,
    WatchSettings,
)
from tests.nas.tiny import ALPHAS, learner, setup

FORMULATIONS = {"single": SingleTask(), "multi": MultiTask(), "interleaving": Interleaving(rounds=1, weight=1.0)}


@pytest.mark.parametrize("form", FORMULATIONS)
def test_the_task_whose_validation_loss_is_not_finite_is_named(form: str) -> None:
    learners = [learner("cats", 2), learner("dogs", 3)] if form != "single" else [learner("dogs", 3)]
    x, y = learners[-1].valid[0]
    bad = x.clone()
    bad[3, 0, 0, 0] = math.nan
    learners[-1] = replace(learners[-1], valid=[(bad, y)])
    engine = mlo.Engine(build_graph(learners, ALPHAS, setup(FORMULATIONS[form], "first")))
    label = rf"term {len(learners)} \('dogs'\)"
    told = (
        rf"the loss of problem 'architecture' is nan, from {label}: its batch holds NaN \({label}, entry 0; in 1 of 4 "
    )
    with pytest.raises(mlo.DivergenceError, match=told) as caught:
        engine.step()
    assert caught.value.__notes__[0].startswith("in outer step 1 of the engine; batch 1 of pass 1 of problem 'archi")


def test_the_command_tells_it_on_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", "digits", "formulation:single", "--out", str(tmp_path / "run"), "--weights.lr", "1e25"]
    words += ["--weights.clip", "1e6", "--epochs", "1", "--supernet.nodes", "1", "--supernet.channels", "2"]
    assert main([*words, "--batch", "16", "--gradient.rule", "first", "--device", "cpu"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: the loss of problem 'architecture' is nan, from term 1 ('digits'): check its batch")
    assert "(in outer step 1 of the engine; batch 1 of pass 1 of problem 'architecture', batch 1 of " in error


def test_a_bad_batch_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many in a row as were allowed; the page of the run tells of each, and a search without leave stops."""
    settings = replace(
        SearchSettings(formulation=SingleTask(), gradient=GradientSettings("first"), epochs=1, batch=80, device="cpu"),
        supernet=SupernetSettings(nodes=1, primitives=("none", "skip_connect"), channels=1, layers=3),
        bad_batches=2,
    )
    monkeypatch.setattr(record, "draw_search", lambda *_: ([], []))
    drawn: list[int] = []
    inner = Batches._prepare

    def spoilt(self: Batches, *arguments: Any) -> tuple[Tensor, Tensor]:
        x, y = inner(self, *arguments)
        drawn.append(len(x))
        return (x * math.nan if len(drawn) in (5, 7) else x), y

    monkeypatch.setattr(Batches, "_prepare", spoilt)
    search(replace(settings, watch=WatchSettings(gap=False)), tmp_path / "run")
    assert len(read_metrics(tmp_path / "run")) == 4
    page = (tmp_path / "run" / "README.md").read_text()
    assert page.count("a batch was left out: the loss of problem ") == 2
    drawn.clear()
    with pytest.raises(mlo.DivergenceError):
        search(replace(settings, watch=WatchSettings(gap=False), bad_batches=0), tmp_path / "stops")
