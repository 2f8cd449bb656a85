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
from tests.parallel.graphs import Share, bilevel, chain, network, trilevel
from tests.parallel.ranks import launch
from tests.parallel.trained import Case, apart, flat, trained

BATCH_NORM = partial(network, norm=partial(nn.BatchNorm1d, 5, dtype=torch.float64))
DIFFERENCE = mlo.Unroll(product=mlo.FiniteDifference(epsilon=0.01))
LEARNED = mlo.Proximal(mlo.Learned(lambda v: v.a.exp().sum(), reads=["a"]), step_size=0.1)
CYCLIC = mlo.Proximal(2.0, step_size=0.1, anchor="cyclic")


def case(name, rule=None, *, engine=None, frozen=(), make=chain, **options):
    return Case(name, partial(make, rule or mlo.Unroll(), size=6, **options), engine or {}, frozen=frozen)


def mixed(rule, share, size):
    """A chain of which one learner makes two steps, so that its stages cannot be taken ahead."""
    return chain(rule, share, size, slow="l1")


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
    case("none: bilevel", make=bilevel),
    case("none: three levels", make=trilevel),
    case("chunks", make=bilevel, accumulate=3),
]


def on_members(stages):
    ranks = mlo.Parallel(stages=stages)
    share = Share(ranks.replica, ranks.replicas)
    return [trained(one, share, ranks) for one in CASES]


@pytest.mark.parametrize(("stages", "data"), [(2, 1), (3, 1), (4, 1), (2, 2)])
def test_members_equal_one_process(stages, data):
    found, wrong = launch(on_members, stages * data, stages), {}
    for index, one in enumerate(CASES):
        truth, _ = trained(one, Share(), mlo.Alone())
        mine = [values for values, _ in (of_rank[index] for of_rank in found)]
        if any(not np.array_equal(values[key], mine[0][key]) for values in mine for key in values):
            wrong[one.name] = "ranks differ"
        exact = data == 1 and "differences" not in one.name
        if "batch norm" in one.name and data > 1:
            continue  # its statistics are those of a share
        gap = apart(mine[0], truth)
        if not gap <= (1e-12 if exact else 1e-10):
            wrong[one.name] = wrong.get(one.name, "") + f"{gap:.1e} from one process"
    assert wrong == {}
