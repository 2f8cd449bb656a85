"""What ranks are by default, where they start from, and how they read a DataLoader."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torchopt
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, TensorDataset

import mlo
from tests.parallel.graphs import FEATURES, Share, bilevel, decayed, linear
from tests.parallel.ranks import launch
from tests.parallel.trained import flat

EXAMPLES, BATCH = 7, 2


def loader(kind):
    """Return a DataLoader of numbered examples whose sampler is distributed, directly or inside a BatchSampler."""
    x = torch.arange(EXAMPLES, dtype=torch.float64).view(-1, 1).repeat(1, FEATURES)
    dataset = TensorDataset(x, x[:, 0])
    sampler = DistributedSampler(dataset, shuffle=True, seed=1)
    if kind == "batch sampler":
        return DataLoader(dataset, batch_sampler=BatchSampler(sampler, BATCH, drop_last=False))
    return DataLoader(dataset, batch_size=BATCH, sampler=sampler)


def seen(kind):
    """Train for three passes; return the numbers of the examples in each."""
    numbers = []

    def fit(v, batch):
        numbers.append(batch[0][:, 0].tolist())
        return decayed(v, batch)

    lower = mlo.Problem("w", fit, linear(), reads=["a"], update=torchopt.sgd(1e-6), batches=loader(kind))
    upper = bilevel(mlo.FirstOrder(), Share(), 7).problems[0]
    # First order: one call of the loss in each step.
    for _ in mlo.Engine(mlo.ProblemGraph([upper, lower])).run(6):
        pass
    return [numbers[0] + numbers[1], numbers[2] + numbers[3], numbers[4] + numbers[5]]


def samplers():
    return {kind: seen(kind) for kind in ("sampler", "batch sampler")}


def test_a_distributed_sampler_gives_disjoint_shares_in_a_new_order_each_pass():
    first, second = launch(samplers, 2)
    for kind in first:
        for one, other in zip(first[kind], second[kind], strict=True):
            # Seven examples on two ranks: four each, of which the sampler repeats one.
            assert len(one) == len(other) == 4
            assert set(one) | set(other) == set(range(EXAMPLES))
        assert first[kind][0] != first[kind][1] != first[kind][2]


def defaults():
    """Each rank declares other values: its generator is seeded by its number."""
    model = nn.Linear(FEATURES, 1, dtype=torch.float64)
    share = Share(dist.get_rank(), dist.get_world_size())
    engine = mlo.Engine(bilevel(mlo.Unroll(), share, 7, model=lambda: model))
    begun = flat(engine.values)
    engine.step()
    alone = mlo.Engine(bilevel(mlo.Unroll(), share, 7, model=lambda: model), parallel=mlo.Alone())
    own = flat(alone.values)
    alone.step()
    ranks = mlo.Parallel()
    return {
        "begun": begun.numpy(),
        "stepped": flat(engine.values).numpy(),
        "own": own.numpy(),
        "alone": flat(alone.values).numpy(),
        "ranks": repr(engine.parallel),
        "seed": ranks.seed(5),
        "gradient": flat(mlo.hypergradient(bilevel(mlo.Unroll(), share, 7), of="a")).numpy(),
    }


def test_all_ranks_share_batches_by_default_and_start_from_the_values_of_the_first():
    first, second = launch(defaults, 2)
    assert not np.array_equal(first["own"], second["own"])
    assert np.array_equal(first["begun"], first["own"])
    assert np.array_equal(second["begun"], first["own"])
    assert np.array_equal(first["stepped"], second["stepped"])
    assert first["ranks"] == "Parallel(stages=1, data=2)"
    assert first["seed"] != second["seed"]


def test_just_the_gradient_is_that_of_all_examples():
    truth = flat(mlo.hypergradient(bilevel(mlo.Unroll(), Share(), 7), of="a")).numpy()
    for found in launch(defaults, 2):
        assert np.abs(found["gradient"] - truth).max() < 1e-12


def test_alone_means_alone():
    for rank, found in enumerate(launch(defaults, 2)):
        assert not np.array_equal(found["alone"], found["stepped"]), rank


def refused():
    found = []
    for options in (
        {"stages": 2},
        {"stages": 2, "data": 2},
        {"data": 1},
        {"stages": 0},
        {"stages": True},
        {"data": 1.0},
    ):
        try:
            mlo.Parallel(**options)
        except mlo.ConfigError as error:
            found.append(str(error))
        else:
            found.append("accepted")
    return found


def test_numbers_that_do_not_fit_the_ranks_are_refused():
    for found in launch(refused, 3):
        assert all(text.startswith("Parallel: ") for text in found), found
        assert "give numbers whose product is 3" in found[1]


def test_without_torch_distributed_there_is_one_process():
    engine = mlo.Engine(bilevel(mlo.Unroll(), Share(), 7))
    assert repr(engine.parallel) == "Alone()"
    with pytest.raises(mlo.ConfigError, match="start the program by torchrun"):
        mlo.Parallel()
