"""The strength lambda of the proximal term as an outer variable: exact against autograd through a chain by hand."""

import functools

import pytest
import torch
import torchopt

import mlo
from mlo.testing import check_hypergradient

F64 = torch.float64
ETA, STEPS = 0.1, 3
GOALS = {"p": torch.tensor([2.0, 0.5], dtype=F64), "q": torch.tensor([0.0, -1.0], dtype=F64)}
START = {"p": torch.tensor([0.3, 0.1], dtype=F64), "q": torch.tensor([-0.4, 0.6], dtype=F64)}
LEARNED = mlo.Learned(lambda v: v.strength.exp(), reads=["strength"])
SGD = functools.partial(torch.optim.SGD, lr=ETA)


def learner(name, update=SGD, **how):
    def loss(v, batch):
        return ((v[name] - GOALS[name]) ** 2).sum() + (v[name] ** 4).sum() / 8

    return mlo.Problem(name, loss, START[name], update=update, **{"steps": STEPS, **how})


def graph(proximal, log=0.5, rounds=2, update=SGD, **how):
    learners = [learner("p", update, **how), learner("q", update, **how)]
    stages = mlo.interleave(learners, rounds=rounds, proximal=proximal, shared="value")
    last = [stage.name for stage in stages[:2]]

    def upper(v, batch):
        return sum((v[name] ** 2).sum() + v[name].prod() for name in last)

    top = mlo.Problem("strength", upper, torch.tensor(log, dtype=F64), reads=last, update=torchopt.sgd(0.1))
    return mlo.ProblemGraph([top, *stages])


def by_hand(form, log=0.5, rounds=2, momentum=0.0, anchor=None):
    log = torch.tensor(log, dtype=F64, requires_grad=True)
    c = 2 * ETA * log.exp()
    answers, previous = [], anchor
    for name in ["p", "q"] * rounds:
        w, b = START[name], 0.0
        for _ in range(STEPS):
            b = momentum * b + 2 * (w - GOALS[name]) + w**3 / 2
            half = w - ETA * b
            if previous is None:
                w = half
            else:
                w = (half + c * previous) / (1 + c) if form == "implicit" else half - c * (w - previous)
        previous = w
        answers.append(w)
    return torch.autograd.grad(sum((w**2).sum() + w.prod() for w in answers[-2:]), log)[0]


@pytest.mark.parametrize("update", [SGD, torchopt.sgd(ETA)], ids=["torch", "torchopt"])
@pytest.mark.parametrize("form", ["implicit", "explicit"])
def test_both_forms_equal_a_chain_by_hand(form, update):
    found = mlo.hypergradient(graph(mlo.Proximal(LEARNED, step_size=ETA, form=form), update=update), of="strength")
    assert float(found) == pytest.approx(float(by_hand(form)), rel=1e-13)


def test_with_momentum_and_a_cyclic_anchor():
    update = functools.partial(torch.optim.SGD, lr=ETA, momentum=0.5)
    proximal = mlo.Proximal(LEARNED, step_size=ETA, anchor="cyclic")
    found = mlo.hypergradient(graph(proximal, update=update), of="strength")
    assert float(found) == pytest.approx(float(by_hand("implicit", momentum=0.5, anchor=START["q"])), rel=1e-13)


def test_the_value_is_that_of_a_plain_weight():
    fixed = mlo.Engine(graph(mlo.Proximal(float(torch.tensor(0.5, dtype=F64).exp()), step_size=ETA), update=SGD))
    learned = mlo.Engine(graph(mlo.Proximal(LEARNED, step_size=ETA)))
    with pytest.raises(mlo.LossError, match="'strength' does not depend"):
        fixed.step()
    list(learned.run(2))
    first = mlo.hypergradient(learned.graph, of="strength", values={"strength": learned.values["strength"]})
    assert float(first) == pytest.approx(float(by_hand("implicit", float(learned.values["strength"]))), rel=1e-13)


def test_a_learner_may_learn_its_step_size_as_well():
    both = mlo.Learned(lambda v: functools.partial(torch.optim.SGD, lr=v.strength.exp() / 20), reads=["strength"])
    check_hypergradient(graph(mlo.Proximal(LEARNED, step_size=ETA), update=both), of="strength")


def test_implicit_responses_see_it_in_the_penalty():
    # At rest, the derivative of the loss plus lambda |w - previous|^2 vanishes; so lambda is one of its inputs.
    proximal = mlo.Proximal(LEARNED, step_size=ETA)
    implicit = graph(proximal, rounds=1, steps=160, response=mlo.Implicit(mlo.CG(tol=1e-13)))
    unrolled = graph(proximal, rounds=1, steps=160)
    found, truth = (float(mlo.hypergradient(each, of="strength")) for each in (implicit, unrolled))
    assert found == pytest.approx(truth, rel=1e-9)


def test_stability_is_checked_at_each_value():
    proximal = mlo.Proximal(LEARNED, step_size=ETA, form="explicit")
    with pytest.raises(mlo.StabilityError, match=r"2\*0\.1\*12\.1825 = 2\.4365 >= 2"):
        mlo.hypergradient(graph(proximal, log=2.5), of="strength")
    assert mlo.hypergradient(graph(proximal, log=1.5), of="strength").isfinite()


def test_a_weight_that_is_none_is_named():
    def over(make):
        proximal = mlo.Proximal(mlo.Learned(make, reads=["strength"]), step_size=ETA)
        return mlo.hypergradient(graph(proximal, log=-0.5), of="strength")

    with pytest.raises(mlo.ConfigError, match=r"'q@1': Proximal: weight must be a finite number >= 0"):
        over(lambda v: v.strength)
    with pytest.raises(mlo.ConfigError, match=r"'q@1': Proximal: weight must be"):
        over(lambda v: v.strength.exp() * torch.ones(2))
    with pytest.raises(mlo.GraphError, match=r"'q@1': its proximal weight does not depend on 'strength'"):
        over(lambda v: 1.0)
    with pytest.raises(mlo.GraphError, match=r"'q@1'.*\.item\(\).*'strength'"):
        over(lambda v: v.strength.exp().item())


def test_what_needs_its_value_in_advance_says_so():
    proximal = mlo.Proximal(LEARNED, step_size=ETA)
    for ask in (lambda: mlo.influence(proximal, 4), lambda: proximal.strength(0)):
        with pytest.raises(mlo.ConfigError, match="weight is learned"):
            ask()


def test_an_adaptive_torch_optimizer_balances_no_gradient():
    with pytest.raises(mlo.GraphError, match=r"cannot respond by Implicit: a proximal step after Adam"):
        graph(mlo.Proximal(LEARNED, step_size=ETA), update=torch.optim.Adam, response=mlo.Implicit())
