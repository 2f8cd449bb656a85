"""The proximal step: its stability, its influence, its anchors."""

import pytest
import torch
import torchopt

import mlo

ETA = 0.1


def engine_over(stages, reads=()):
    def loss(v, batch):
        return v.a**2 + sum(v[name].sum() for name in reads)

    top = mlo.Problem("a", loss, torch.ones(()).double(), reads=reads, update=torchopt.sgd(0.1))
    return mlo.Engine(mlo.ProblemGraph([top, *stages]))


def still(name, start, steps):
    def loss(v, batch):
        return 0.0 * v[name].sum()

    return mlo.Problem(name, loss, torch.full((1,), start).double(), update=torchopt.sgd(ETA), steps=steps)


def pulled(name, goal):
    def loss(v, batch):
        return ((v[name] - goal) ** 2).sum()

    return mlo.Problem(name, loss, torch.zeros(2).double(), update=torchopt.sgd(ETA))


def pair(proximal, steps):
    """Return two learners without a force of their own, one apart from each other."""
    learners = [still("w0", 0.0, steps), still("w1", 1.0, steps)]
    stages = mlo.interleave(learners, rounds=1, proximal=proximal, shared="value")
    return engine_over(stages, reads=["w1@1"])


@pytest.mark.parametrize("weight", [10.0, 12.5, 100.0])
def test_an_explicit_step_that_diverges_is_refused(weight):
    with pytest.raises(mlo.StabilityError, match=rf"c = .*{ETA}.*{weight:g} = {2 * ETA * weight:g} >= 2.*1/eta = 10"):
        mlo.Proximal(weight, step_size=ETA, form="explicit").strength(0)


@pytest.mark.parametrize("c", [0.5, 1.0, 1.5, 2.5, 5.0])
def test_the_explicit_step_multiplies_the_gap_by_one_minus_c(c):
    engine = pair(mlo.Proximal(c / (2 * ETA), step_size=ETA, form="explicit", allow_unstable=True), steps=4)
    engine.step()
    gap = float(engine.values["w1@1"] - engine.values["w0@1"])
    assert gap == pytest.approx((1 - c) ** 4, rel=1e-12, abs=1e-15)
    assert (abs(gap) > 1) == (c > 2)


def test_a_growing_step_size_is_refused_when_it_crosses():
    engine = pair(mlo.Proximal(50.0, step_size=lambda count: 0.006 * (count + 1), form="explicit"), steps=1)
    list(engine.run(3))
    with pytest.raises(mlo.StabilityError, match=r"c = .* 2\.4 >= 2"):
        engine.step()


@pytest.mark.parametrize(
    ("weight", "implicit", "explicit"),
    [
        (1, [1e-4, 0.002, 0.045, 0.952], [1e-4, 0.0025, 0.05, 1]),
        (10, [0.037, 0.074, 0.222, 0.667], [0.125, 0.25, 0.5, 1]),
        (20, [0.125, 0.125, 0.25, 0.5], [1, 1, 1, 1]),
        (100, [0.579, 0.116, 0.139, 0.167], [125, 25, 5, 1]),
    ],
)
def test_influence(weight, implicit, explicit):
    found = mlo.influence(mlo.Proximal(weight, step_size=0.025), 4)
    assert found == pytest.approx(implicit, abs=6e-4)
    assert sum(found) == pytest.approx(1.0, abs=1e-15)
    insisted = mlo.Proximal(weight, step_size=0.025, form="explicit", allow_unstable=True)
    assert mlo.influence(insisted, 4) == pytest.approx(explicit, rel=0.26)


def toy(order, anchor):
    """Return the loss of each of two opposed quadratics after training in an order at a large lambda."""
    goals = {"p": torch.tensor([2.0, 0.0]).double(), "q": torch.tensor([0.0, 2.0]).double()}
    learners = [pulled(name, goals[name]) for name in order]
    proximal = mlo.Proximal(50.0, step_size=ETA, anchor=anchor)
    engine = engine_over(mlo.interleave(learners, rounds=2, proximal=proximal, shared="value"))
    list(engine.run(150))
    return {n: float(((engine.values[f"{n}@2"] - goals[n]) ** 2).sum()) for n in order}


def test_only_the_cyclic_anchor_does_not_depend_on_the_order():
    # Hard sharing gives both losses 2; without an anchor the first learner keeps its own optimum.
    assert toy("pq", "cyclic") == pytest.approx(toy("qp", "cyclic"), rel=0.1)
    assert toy("pq", "none")["p"] < 0.1 < 5 < toy("pq", "none")["q"]
    assert toy("qp", "none")["q"] < 0.1 < 5 < toy("qp", "none")["p"]
