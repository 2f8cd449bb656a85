"""Ranks with other numbers of examples, of batches, or with none, train as one process with all of it joined."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torchopt

import mlo
from tests.parallel.graphs import Share, data, error, network, scaled, start
from tests.parallel.ranks import launch
from tests.parallel.trained import Case, apart, trained

TOLERANCE = 1e-10  # as in test_as_one.py

# The numbers of examples in each batch of a pass, for each rank.
PILES = {
    "another number in each": [[3, 1, 2], [2, 4, 1]],
    "passes of other lengths": [[3, 4, 2], [5, 1]],
    "the first has none": [[], [3, 4]],
    "the last has none": [[3, 4], []],
    "a batch of no examples": [[4, 0, 2], [3, 5, 1]],
    "the first batch of no examples": [[0, 4], [2, 3]],
}
THREE = {
    "only one has any": [[], [4, 3], []],
    "all but one have some": [[], [4, 2], [3, 1]],
    "all lengths": [[1], [2, 2], [3, 3, 3]],
}


def pile(seed, sizes):
    """Return a batch for each size."""
    return [data(100 * seed + index, size, Share(), count=1)[0] for index, size in enumerate(sizes)]


def joined(seed, piles):
    """Return the batches of all ranks together, pass by pass."""
    found = [pile(seed + rank, sizes) for rank, sizes in enumerate(piles)]
    rounds = [[mine[i] for mine in found if i < len(mine)] for i in range(max(map(len, found)))]
    return [tuple(torch.cat(parts) for parts in zip(*there, strict=True)) for there in rounds]


def graph(valid, train, *, summed=False, accumulate=1):
    """Validation and training on batches of their own; `summed`: both are the sum of two losses."""

    def fit(v, b):
        return scaled(v, b)

    def check(v, b):
        return error(v.w, b)

    upper, lower = (mlo.Sum([check, fit]), mlo.Sum([fit, fit])) if summed else (check, fit)
    top = mlo.Problem(
        "a", upper, start(), reads=["w"], update=torchopt.adam(0.05), batches=valid, accumulate=accumulate
    )
    w = mlo.Problem(
        "w",
        lower,
        network(),
        reads=["a"],
        update=torchopt.sgd(0.1),
        steps=2,
        batches=train,
        accumulate=accumulate,
    )
    return mlo.ProblemGraph([top, w])


def paired(batches, others):
    return list(zip(batches, others, strict=True))


VARIANTS = [{}, {"summed": True}, {"accumulate": 3}]


def on_piles(piles):
    """Train on the pile of this rank, with the piles the other way round for validation."""
    rank = dist.get_rank()
    found = []
    for options in VARIANTS:
        train, valid = pile(10 + rank, piles[rank]), pile(20 + rank, piles[::-1][rank])
        if options.get("summed"):
            train, valid = (
                paired(train, pile(30 + rank, piles[rank])),
                paired(valid, pile(40 + rank, piles[::-1][rank])),
            )
        case = Case("", lambda share, t=train, v=valid, o=options: graph(v, t, **o), steps=7)
        found.append(trained(case, Share(), mlo.Parallel())[0])
    return found


def on_all(table):
    return {name: on_piles(piles) for name, piles in table.items()}


def truth(piles, options):
    train, valid = joined(10, piles), joined(20, piles[::-1])
    if options.get("summed"):
        train, valid = paired(train, joined(30, piles)), paired(valid, joined(40, piles[::-1]))
    case = Case("", lambda share: graph(valid, train, **options), steps=7)
    return trained(case, Share(), mlo.Alone())[0]


def compared(table, world):
    found = launch(on_all, world, table)
    gaps = {}
    for name, piles in table.items():
        for index, options in enumerate(VARIANTS):
            expected = truth(piles, options)
            for rank in range(world):
                gaps[name, str(options), rank] = apart(found[rank][name][index], expected)
    return {key: gap for key, gap in gaps.items() if not gap <= TOLERANCE}


def test_two_ranks():
    assert compared(PILES, 2) == {}


def test_three_ranks():
    assert compared(THREE, 3) == {}
