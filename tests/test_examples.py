"""The programs that the documentation prints run as printed."""

from __future__ import annotations

import re
from pathlib import Path

import torch
import torchopt
from torch.nn.functional import mse_loss

import mlo
import mlo.testing

ROOT = Path(__file__).resolve().parents[1]


def test_the_example_of_the_readme(capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 200
    assert all(re.fullmatch(r"\{'decay': [\d.e+-]+, 'weights': [\d.e+-]+\}", line) for line in printed)


def fit(v, batch):  # lower: ridge with one log-decay per feature
    x, y = batch
    return mse_loss(v.weights(x), y) + (v.decay.exp() * v.weights.params["weight"] ** 2).sum()


def validate(v, batch):  # upper
    x, y = batch
    return mse_loss(v.weights(x), y)


def test_the_example_of_the_design():
    x, y = torch.randn(64, 20), torch.randn(64, 1)
    train, valid = [(x[:32], y[:32])], [(x[32:], y[32:])]
    top = {"reads": ["weights"], "update": torchopt.adam(1e-2), "batches": valid}
    decay = mlo.Problem("decay", validate, torch.zeros(20), **top)
    low = {"reads": ["decay"], "update": torchopt.sgd(0.1), "steps": 20, "batches": train}
    weights = mlo.Problem("weights", fit, torch.nn.Linear(20, 1), response=mlo.Implicit(mlo.CG(max_steps=20)), **low)
    graph = mlo.ProblemGraph([decay, weights])
    assert graph.levels == 2
    assert "decay" in graph.describe()
    assert graph.to_mermaid().startswith("flowchart")
    engine = mlo.Engine(graph)
    losses = [report.losses["decay"] for report in engine.run(steps=100)]
    assert losses[-1] < losses[0]
    assert set(engine.values["weights"]) == {"weight", "bias"}
    assert isinstance(engine.export("weights"), torch.nn.Linear)

    vb, tb = valid[0], train[0]
    grad = mlo.hypergradient(graph, of="decay", values=engine.values, batches={"decay": vb, "weights": tb})
    assert grad.shape == (20,)
    mlo.testing.check_hypergradient(graph, of="decay", directions=3)


def test_the_interleaving_of_the_design():
    learners = [_learner("first"), _learner("second")]
    proximal = mlo.Proximal(100.0, step_size=0.025)
    stages = mlo.interleave(learners, rounds=2, proximal=proximal, shared="encoder")
    assert [stage.name for stage in stages] == ["second@2", "first@2", "second@1", "first@1"]
    mlo.ProblemGraph(stages)


def _learner(name):
    net = torch.nn.ModuleDict({"encoder": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 1)})
    return mlo.Problem(name, lambda v, batch: 0.0, net, update=torchopt.sgd(0.025))
