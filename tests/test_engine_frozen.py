"""Steps that leave the outermost problem where it is."""

from __future__ import annotations

import pytest
import torch
import torchopt

import mlo

ETA = 0.1
LOWER = [torch.tensor([1.0, 2.0]).double(), torch.tensor([0.5, -1.0]).double()]
UPPER = [torch.tensor([0.3, -0.2]).double(), torch.tensor([1.0, 1.0]).double()]


def graph(upper=UPPER, rule=None, extra=()):
    top = mlo.Problem(
        "x",
        lambda v, batch: ((v.w - batch) ** 2).sum() + 0.1 * (v.x**2).sum(),
        torch.zeros(2).double(),
        reads=["w"],
        update=torchopt.adam(0.05),
        batches=upper,
    )
    low = mlo.Problem(
        "w",
        lambda v, batch: (0.5 * (v.w - batch) ** 2 * v.x.exp()).sum(),
        torch.ones(2).double(),
        reads=["x"],
        update=torchopt.sgd(ETA, momentum=0.9),
        batches=LOWER,
        response=rule or mlo.Unroll(),
    )
    return mlo.ProblemGraph([top, low, *extra])


@pytest.mark.parametrize("look_ahead", [False, True])
def test_the_deeper_problem_trains_as_if_alone(look_ahead):
    engine = mlo.Engine(graph(), look_ahead=look_ahead)
    w, buffer = torch.ones(2).double(), torch.zeros(2).double()
    for report, index in zip(engine.run(3, frozen=True), [0, 1, 0], strict=True):
        buffer = 0.9 * buffer + (w - LOWER[index])
        w = w - ETA * buffer
        assert torch.allclose(engine.values["w"], w, rtol=0, atol=1e-14)
        assert set(report.losses) == set(report.norms) == {"w"}
        assert report.gradients == 1
    assert torch.equal(engine.values["x"], torch.zeros(2).double())


def test_neither_the_batches_nor_the_optimizer_of_the_outermost_move():
    """After a warm-up the outermost makes the step that it would have made first: its Adam counts from 1."""
    drawn = []

    class Watched:
        def __iter__(self):
            for batch in UPPER:
                drawn.append(batch)
                yield batch

    engine = mlo.Engine(graph(Watched()))
    list(engine.run(2, frozen=True))
    assert not drawn
    engine.step()
    assert len(drawn) == 1
    assert torch.allclose(engine.values["x"].abs(), torch.full((2,), 0.05).double(), rtol=1e-5)


def test_problems_that_do_not_respond_are_trained_too():
    aside = mlo.Problem("aside", lambda v, batch: (v.aside**2).sum(), torch.ones(1).double(), update=torchopt.sgd(0.25))
    engine = mlo.Engine(graph(extra=[aside]))
    engine.step(frozen=True)
    assert engine.values["aside"].item() == 0.5
    assert engine.step_count == 1


def test_a_frozen_step_that_fails_changes_nothing():
    bad = mlo.Problem("bad", lambda v, batch: (v.bad / 0).sum(), torch.ones(1).double(), update=torchopt.sgd(0.1))
    engine = mlo.Engine(graph(extra=[bad]))
    before = engine.values
    with pytest.raises(mlo.DivergenceError, match="bad"):
        engine.step(frozen=True)
    assert all(torch.equal(before[name], value) for name, value in engine.values.items())
    assert engine.step_count == 0
