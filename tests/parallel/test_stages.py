"""Members that share the stages of an interleaving, and the terms of a sum, end where one process does.

Each stage is computed by one member as it would be alone, so that numbers are the same but for the order of sums: of
the terms of the upper loss, and of what the products of several stages leave on the architecture. 1e-12 is asked for
(differences divide by a step: 1e-10).
"""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torchopt
from torch import nn

import mlo
from tests.parallel.graphs import Share, bilevel, chain, network, relay, scaled, trilevel
from tests.parallel.ranks import launch, outcomes
from tests.parallel.trained import Case, apart, flat, trained

BATCH_NORM = partial(network, norm=partial(nn.BatchNorm1d, 5, dtype=torch.float64))
DIFFERENCE = mlo.Unroll(product=mlo.FiniteDifference(epsilon=0.01))
LEARNED = mlo.Proximal(mlo.Learned(lambda v: v.a.exp().sum(), reads=["a"]), step_size=0.1)
CLIPPED = mlo.Clipped(torchopt.sgd(0.1), 0.1)
CYCLIC = mlo.Proximal(2.0, step_size=0.1, anchor="cyclic")


def case(name, rule=None, *, engine=None, frozen=(), make=chain, **options):
    return Case(name, partial(make, rule or mlo.Unroll(), size=6, **options), engine or {}, frozen=frozen)


def mixed(rule, share, size, **options):
    """A chain of which one learner makes two steps, so that its stages cannot be taken ahead."""
    return chain(rule, share, size, slow="l1", **options)


CASES = [
    case("exact"),
    case("first order", mlo.FirstOrder()),
    case("differences", DIFFERENCE),
    case("look-ahead", engine={"look_ahead": True}),
    case("look-ahead, differences", DIFFERENCE, engine={"look_ahead": True}),
    case("look-ahead, first order", mlo.FirstOrder(), engine={"look_ahead": True}),
    case("frozen", frozen=(0, 2)),
    case("cyclic", proximal=CYCLIC, rounds=1),
    case("cyclic, two rounds", proximal=CYCLIC),
    case("learned strength", proximal=LEARNED),
    case("adam", update=torchopt.adam(0.05, eps_root=1e-8)),
    case("torch.optim", update=partial(torch.optim.SGD, lr=0.1, momentum=0.9)),
    case("batch norm", model=BATCH_NORM),
    case("batch norm, look-ahead", model=BATCH_NORM, engine={"look_ahead": True}),
    case("a net", model=network),
    case("one function on top", summed=False),
    case("unequal tasks", sizes=[2, 9]),
    case("three learners", learners=3, rounds=1, sizes=[4, 5, 6]),
    case("five stages", learners=5, rounds=1),
    case("recompute", mlo.Unroll(memory=mlo.Recompute())),
    case("forward", mlo.Unroll(memory=mlo.Forward())),
    case("implicit", mlo.Implicit(mlo.Neumann(max_steps=3, step_size=0.1))),
    case("partly", make=mixed),
    case("handed over", begin="previous"),  # one stage after another, on all members alike
    case("handed over, several steps", DIFFERENCE, make=mixed, begin="previous"),
    case("an answer is read", make=relay),
    case("none: bilevel", make=bilevel),
    case("none: three levels", make=trilevel),
    case("chunks", make=bilevel, accumulate=3),
    # One member adds two pieces and the other has one: norms must have the same bits on both nevertheless.
    case("chunks, clipped", mlo.FirstOrder(), make=bilevel, accumulate=3, loss=scaled, model=network, update=CLIPPED),
]


MANY = [
    "exact",
    "differences",
    "look-ahead",
    "cyclic",
    "batch norm",
    "unequal tasks",
    "five stages",
    "partly",
    "handed over",
    "frozen",
]


def chosen(stages):
    """Return the cases: all for two members, some for more."""
    return [one for one in CASES if stages == 2 or one.name in MANY]


def on_members(stages):
    ranks = mlo.Parallel(stages=stages)
    torch.manual_seed(ranks.seed(0))
    share = Share(ranks.replica, ranks.replicas)
    return [trained(one, share, ranks) for one in chosen(stages)]


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_members_equal_one_process(stages):
    found, wrong = launch(on_members, stages, stages), {}
    for index, one in enumerate(chosen(stages)):
        truth, _ = trained(one, Share(), mlo.Alone())
        mine = [values for values, _ in (of_rank[index] for of_rank in found)]
        if any(not np.array_equal(values[key], mine[0][key]) for values in mine for key in values):
            wrong[one.name] = "ranks differ"
        exact = "differences" not in one.name and "several" not in one.name
        gap = apart(mine[0], truth)
        if not gap <= (1e-12 if exact else 1e-10):
            wrong[one.name] = wrong.get(one.name, "") + f"{gap:.1e} from one process"
    assert wrong == {}


BOTH = [one for one in CASES if one.name in ("exact", "differences", "look-ahead", "cyclic", "none: three levels")]


def on_a_grid():
    ranks = mlo.Parallel(stages=2, data=2)
    torch.manual_seed(ranks.seed(0))
    return [trained(one, Share(ranks.replica, 2), ranks)[0] for one in BOTH]


def test_members_and_replicas_together_equal_one_process():
    found = launch(on_a_grid, 4)
    for index, one in enumerate(BOTH):
        truth, _ = trained(one, Share(), mlo.Alone())
        for of_rank in found:
            assert apart(of_rank[index], truth) < 1e-10, one.name


def count(stages):
    """Return the gradients of one step, for exact products and for differences."""
    ranks = mlo.Parallel(stages=stages)
    torch.manual_seed(ranks.seed(0))
    return [trained(one, Share(), ranks)[1] for one in CASES[:3]]


@pytest.mark.parametrize("stages", [2, 4])
def test_each_member_takes_its_part_of_the_gradients(stages):
    # Four stages, each one gradient, and two more with differences; on top one for the validation loss.
    for exact, first, differences in launch(count, stages, stages):
        assert (exact, first, differences) == (4 // stages + 1, 4 // stages + 1, 3 * 4 // stages + 1)


def drawing():
    """Train with losses that draw; return what each stage drew on this member, and its next draws after all."""
    ranks = mlo.Parallel(stages=2)
    torch.manual_seed(ranks.seed(3))
    np.random.seed(3)
    random.seed(3)
    graph, drawn = chain(mlo.Unroll(), Share(), 6), {}
    for problem in graph.problems:
        for place, term in enumerate(getattr(problem.loss, "terms", [problem.loss])):
            key = f"{problem.name} {place}"

            def noisy(v, batch, term=term, key=key):
                drawn.setdefault(key, []).append((float(torch.rand(())), float(np.random.rand()), random.random()))
                return term(v, batch)

            if hasattr(problem.loss, "terms"):
                terms = [*problem.loss.terms]
                terms[place] = noisy
                object.__setattr__(problem, "loss", mlo.Sum(terms))
            else:
                object.__setattr__(problem, "loss", noisy)
    engine = mlo.Engine(graph, parallel=ranks)
    for _ in engine.run(3):
        pass
    after = (float(torch.rand(())), float(np.random.rand()), random.random())
    return drawn, after, flat(engine.values).numpy()


def test_stages_draw_numbers_of_their_own_and_generators_agree_afterwards():
    (first, after, values), (second, after_as_well, values_as_well) = launch(drawing, 2)
    assert after == after_as_well
    assert np.array_equal(values, values_as_well)
    assert len(first) == len(second) == 3  # two of four stages, and one of two terms
    assert not set(first) & set(second)
    for kind in range(3):
        numbers = [draw[kind] for found in (first, second) for draws in found.values() for draw in draws]
        assert len(set(numbers)) == len(numbers) == 18


def other_seeds():
    ranks = mlo.Parallel(stages=2)
    graph = chain(mlo.Unroll(), Share(), 6)
    torch.manual_seed(dist.get_rank())
    mlo.Engine(graph, parallel=ranks).step()


def test_members_that_would_draw_other_numbers_are_told():
    for one in outcomes(other_seeds, 2):
        assert "ranks 0 and 1 share stages, but would draw other random numbers" in str(one.error)


def just_the_gradient():
    ranks = mlo.Parallel(stages=2)
    torch.manual_seed(ranks.seed(0))
    graph = chain(mlo.Unroll(), Share(), 6)
    return [flat(mlo.hypergradient(graph, of=name, parallel=ranks)).numpy() for name in ("a", "l0@2")]


def test_just_the_gradient():
    graph = chain(mlo.Unroll(), Share(), 6)
    for found in launch(just_the_gradient, 2):
        for name, gradient in zip(("a", "l0@2"), found, strict=True):
            truth = flat(mlo.hypergradient(graph, of=name)).numpy()
            assert np.abs(gradient - truth).max() < 1e-12


def in_single_precision():
    ranks = mlo.Parallel(stages=2)
    torch.manual_seed(ranks.seed(0))
    return trained(SINGLE, Share(), ranks)[0]


def single(share):
    """A chain of which one learner is of single precision, the rest of double."""
    return chain(mlo.Unroll(), share, 6, model=Halves)


class Halves(nn.Module):
    """A linear model with one part in single precision: its variable has two buffers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 1, dtype=torch.float64)

    def forward(self, x):
        return self.second(self.first(x.float()).double())


SINGLE = Case("two precisions", single)


def test_variables_of_two_precisions():
    truth, _ = trained(SINGLE, Share(), mlo.Alone())
    for found in launch(in_single_precision, 2):
        assert apart(found, truth) < 1e-5
