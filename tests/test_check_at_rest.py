"""The checker, where a rule takes an answer to be at rest and the update does not come to rest."""

import pytest
import torch
import torchopt

import mlo
import mlo.testing


def graph(update, rule, steps=41):
    def upper(v, batch):
        return ((v.w - 1) ** 2).sum()

    def lower(v, batch):
        return 0.5 * ((v.w - v.x) ** 2).sum()

    start = torch.zeros(2, dtype=torch.float64)
    problems = [
        mlo.Problem("x", upper, start + 2, reads=["w"], update=torchopt.sgd(0.1)),
        mlo.Problem("w", lower, start, reads=["x"], update=update, steps=steps, response=rule),
    ]
    return mlo.ProblemGraph(problems)


@pytest.mark.parametrize("rule", [mlo.Implicit(), mlo.FixedPoint()], ids=["implicit", "fixed point"])
def test_steps_that_never_come_to_rest_are_an_error_that_says_so(rule):
    # With step size 2 at curvature 1, w' - x = -(w - x), to and fro for ever; with 0.5, 41 steps leave 5e-13 of it.
    mlo.testing.check_hypergradient(graph(torchopt.sgd(0.5), rule), of="x")
    name = type(rule).__name__
    with pytest.raises(mlo.HypergradientMismatch, match=f"'w': {name} takes its .* do not come to rest.*mlo.Unroll"):
        mlo.testing.check_hypergradient(graph(torchopt.sgd(2.0), rule), of="x")


def test_a_schedule_that_ends_while_the_check_goes_on_is_explained():
    w = torch.zeros(2, dtype=torch.float64)
    optimizer = torch.optim.SGD([w], lr=0.1)
    ends = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=8)
    made = graph(torchopt.sgd(0.1), mlo.Implicit())  # for its losses
    low = mlo.Problem("w", made["w"].loss, w, reads=["x"], update=ends, steps=5, response=mlo.Implicit())
    with pytest.raises(mlo.ConfigError, match="'w': its scheduler OneCycleLR has no step") as caught:
        mlo.testing.check_hypergradient(mlo.ProblemGraph([made["x"], low]), of="x")
    assert any("check goes on with the solve" in note for note in caught.value.__notes__)
