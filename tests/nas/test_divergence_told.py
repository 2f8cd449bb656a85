"""A search whose numbers are not finite names the task, the step and the batch, on one line of the command."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

import mlo
from applications.nas.cli import main
from applications.nas.formulations import build_graph
from applications.nas.settings import Interleaving, MultiTask, SingleTask
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
