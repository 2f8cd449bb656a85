"""Wrong ways to share a step, each put in the place of the right one, for the children of a launch."""

from __future__ import annotations

import dataclasses
from functools import partial
from unittest import mock

import torch.distributed as dist

import mlo
from mlo.ahead import Ledger
from mlo.evaluate import _Share
from mlo.parallel import Parallel
from mlo.vector import add
from tests.parallel.graphs import Share, bilevel, chain, network, scaled
from tests.parallel.test_batch_norm import NEUMANN, case
from tests.parallel.trained import Case, flat, trained

DATA = [
    Case("exact", partial(bilevel, mlo.Unroll(), size=7, loss=scaled, model=network), steps=2),
    Case("differences", partial(bilevel, mlo.Unroll(product=mlo.FiniteDifference(0.01)), size=7), steps=2),
    dataclasses.replace(case("statistics", rule=NEUMANN), steps=2),
]
STAGES = [Case("chain", partial(chain, mlo.Unroll(), size=6), steps=2)]


def keep(ranks, values, *, divided=False):
    return list(values)


def unweighted(of):
    def found(context, name, *, differentiable):
        return of(dataclasses.replace(context, factors={}), name, differentiable=differentiable)

    return found


def summed(ranks, values):
    return ranks._column.total(values)


def first_alone(ledger, table, name, at):
    """Take the products of this member for those of all."""
    if name in ledger.parts:
        table[name] = add(table.get(name), ledger.parts.pop(name))
    ledger.open.discard(name)


MUTANTS = {
    "nothing is averaged": mock.patch.object(Parallel, "join", keep),
    "gradients are averaged, but not products": mock.patch.object(Parallel, "fork", keep),
    "sums in the place of averages": mock.patch.object(Parallel, "_averaged", summed),
    "every rank counts the same": mock.patch.object(_Share, "of", staticmethod(unweighted(_Share.of))),
    "statistics that no derivative goes through": mock.patch.object(Parallel, "across", summed),
    "no statistics are shared": mock.patch.object(Parallel, "across", lambda ranks, values: list(values)),
    "products of other members are left out": mock.patch.object(Ledger, "settle", first_alone),
}


def survivors():
    """Return, for each mutant, how the values of each case were with it."""
    found = {}
    for name, mutant in {"none": mock.patch.dict({}), **MUTANTS}.items():
        with mutant:
            share = Share(dist.get_rank(), dist.get_world_size())
            found[name] = [trained(one, share, mlo.Parallel())[0] for one in DATA]
            found[name] += [trained(one, Share(), mlo.Parallel(stages=2))[0] for one in STAGES]
    return found


def average_at_the_end():
    """The naive way: every rank takes the hypergradient of its own share, and these are averaged."""
    share = Share(dist.get_rank(), dist.get_world_size())
    graph = bilevel(mlo.Unroll(), share, 7, loss=scaled, model=network)
    gradient = flat(mlo.hypergradient(graph, of="a", parallel=mlo.Alone()))
    (mine,) = share((range(7),))
    dist.all_reduce(gradient.mul_(len(mine) / 7))
    return gradient.numpy()
