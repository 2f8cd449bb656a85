"""BatchNorm on ranks: by the statistics of each rank's share, and by those of the whole batch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torchopt
from torch import nn

import mlo
from tests.parallel.graphs import Share, data, error, start
from tests.parallel.ranks import launch
from tests.parallel.trained import Case, apart, trained

TOLERANCE = 1e-10  # as in test_as_one.py
CHANNELS = 3
NEUMANN = mlo.Implicit(mlo.Neumann(max_steps=3, step_size=0.1))
COARSE = mlo.Unroll(product=mlo.FiniteDifference(epsilon=0.01))


@dataclass(frozen=True)
class Net:
    """A net with two BatchNorms, of `dims` dimensions behind the channels and of none."""

    dims: int = 0
    options: tuple = ()
    dtype: torch.dtype = torch.float64
    evaluates: bool = False

    @property
    def shape(self):
        return (CHANNELS, *[2] * self.dims)

    def __call__(self, *, shared):
        torch.manual_seed(3)
        norm = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[self.dims]
        entries = CHANNELS * 2**self.dims
        layers = [norm(CHANNELS, **dict(self.options)), nn.Flatten(), nn.Linear(entries, 4), nn.BatchNorm1d(4)]
        net = nn.Sequential(*layers, nn.Tanh(), nn.Linear(4, 1)).to(self.dtype)
        net = mlo.SyncBatchNorm.convert(net) if shared else net
        return net.eval() if self.evaluates else net


def on_channels(v, batch):
    x, y = batch
    return error(v.w, (x * v.a.exp().view(-1, *[1] * (x.dim() - 2)), y))


def graph(share, *, net, rule, size, shared=None, accumulate=1, fit=on_channels, steps=2):
    """The lower problem trains the net on scaled channels, and the upper one validates it on its own share."""
    batches = [data(seed, size, share, shape=net.shape) for seed in (1, 2)]
    if net.dtype != torch.float64:
        batches = [[tuple(part.to(net.dtype) for part in batch) for batch in found] for found in batches]
    shared = share.world > 1 if shared is None else shared
    a = mlo.Problem(
        "a",
        lambda v, b: error(v.w, b),
        start().to(net.dtype),
        reads=["w"],
        update=torchopt.adam(0.05, eps=1e-3),
        batches=batches[0],
    )
    w = mlo.Problem(
        "w",
        fit,
        net(shared=shared),
        reads=["a"],
        update=torchopt.sgd(0.1),
        steps=steps,
        batches=batches[1],
        response=rule,
        accumulate=accumulate,
    )
    return mlo.ProblemGraph([a, w])


def case(name, *, rule=None, size=13, steps=3, **options):
    return Case(name, partial(graph, net=Net(**options), rule=rule or mlo.Unroll(), size=size), steps=steps)


SHARED = [
    case("flat"),
    case("1d", dims=1),
    case("2d", dims=2),
    case("3d", dims=3, size=5),
    case("differences", rule=COARSE),
    case("second derivatives", rule=NEUMANN),
    case("forward", rule=mlo.Unroll(memory=mlo.Forward())),
    case("recompute", rule=mlo.Unroll(memory=mlo.Recompute())),
    case("evaluation mode", evaluates=True),
    case("cumulative statistics", options=(("momentum", None),)),
    case("no weights", options=(("affine", False),)),
    case("no statistics", options=(("track_running_stats", False),)),
    case("no statistics, evaluation mode", options=(("track_running_stats", False),), evaluates=True),
    case("a rank without examples", size=2),
]
THREE = [one for one in SHARED if one.name in ("flat", "2d", "second derivatives", "a rank without examples")]
# Sums of single precision, 6e-8 each, over three steps.
SINGLE = [case("float32", dtype=torch.float32)]


def on_ranks(table):
    share = Share(dist.get_rank(), dist.get_world_size())
    return [trained(one, share, mlo.Parallel())[0] for one in globals()[table]]


@pytest.mark.parametrize(
    ("table", "world", "tolerance"), [("SHARED", 2, TOLERANCE), ("THREE", 3, TOLERANCE), ("SINGLE", 2, 1e-4)]
)
def test_shared_statistics_equal_those_of_one_process(table, world, tolerance):
    found, wrong = launch(on_ranks, world, table), {}
    for index, one in enumerate(globals()[table]):
        truth, _ = trained(one, Share(), mlo.Alone())
        gaps = [apart(of_rank[index], truth) for of_rank in found]
        if not max(gaps) <= tolerance:
            wrong[one.name] = gaps
    assert wrong == {}


def own_statistics(size):
    """Train a net with plain BatchNorm."""
    share = Share(dist.get_rank(), dist.get_world_size())
    one = Case("", partial(graph, net=Net(), rule=mlo.Unroll(), size=size, shared=False))
    found, _ = trained(one, share, mlo.Parallel())
    single = Case("", partial(graph, net=Net(), rule=mlo.Unroll(), size=size, steps=1, shared=False), steps=1)
    return found, trained(single, share, mlo.Parallel())[0]["buffers"]


def in_shares(loss, world):
    """Return the loss of one process that goes over the shares one after another, each weighed by its length."""

    def whole(v, batch):
        shares = [Share(rank, world)(batch) for rank in range(world)]
        return sum(len(share[1]) / len(batch[1]) * loss(v, share) for share in shares)

    return whole


@pytest.mark.parametrize("world", [2, 3])
def test_own_statistics_equal_a_loop_over_the_shares(world):
    found = launch(own_statistics, world, 13)

    def looped(share):
        plain = graph(share, net=Net(), rule=mlo.Unroll(), size=13, fit=in_shares(on_channels, world))
        top = plain.problems[0]
        object.__setattr__(top, "loss", in_shares(top.loss, world))
        return plain

    truth, _ = trained(Case("", looped), Share(), mlo.Alone())
    for values, _ in found:
        assert np.abs(values["values"] - truth["values"]).max() < TOLERANCE


@pytest.mark.parametrize("world", [2, 3])
def test_running_statistics_are_the_averages_over_ranks(world):
    found = launch(own_statistics, world, 13)
    expected = 0.0
    for rank in range(world):
        share = Share(rank, world)
        one = Case("", partial(graph, net=Net(), rule=mlo.Unroll(), size=13, steps=1, shared=False), steps=1)
        own, _ = trained(one, share, mlo.Alone())
        expected = expected + len(range(13)[rank::world]) / 13 * own["buffers"]
    for _, buffers in found:
        assert np.abs(buffers - expected).max() < 1e-6  # they are compared in single precision


def chunks():
    share = Share(dist.get_rank(), dist.get_world_size())
    one = Case("", partial(graph, net=Net(dims=2), rule=mlo.Unroll(), size=4, accumulate=3))
    return trained(one, share, mlo.Parallel())[0]["values"]


def test_ranks_with_fewer_examples_than_chunks_wait_for_nobody():
    # Two examples and one, in three chunks: the sums of a chunk are over as many ranks as have one.
    first, *others = launch(chunks, 3)
    assert np.isfinite(first).all()
    assert all(np.array_equal(first, other) for other in others)


def test_outside_of_a_shared_loss_it_is_plain_batch_norm():
    x = torch.randn(5, CHANNELS, 2, dtype=torch.float64)
    plain = nn.BatchNorm1d(CHANNELS, dtype=torch.float64)
    shared = mlo.SyncBatchNorm.convert(nn.BatchNorm1d(CHANNELS, dtype=torch.float64))
    assert torch.equal(plain(x), shared(x))
    assert torch.equal(plain.running_var, shared.running_var)


def half():
    """Return how far SyncBatchNorm of bfloat16 is from BatchNorm of the same numbers on one process."""
    x = torch.randn(8, CHANNELS, 2, generator=torch.Generator().manual_seed(0)).bfloat16() + 30.0
    target, found = nn.BatchNorm1d(CHANNELS)(x.float()), []

    def loss(v, b):
        found.append(v.w(b))
        return (found[-1].float() ** 3).mean() * v.a.exp().sum()

    share = Share(dist.get_rank(), dist.get_world_size())
    (mine,), (due,) = share((x,)), share((target,))
    w = mlo.Problem("w", loss, mlo.SyncBatchNorm(CHANNELS), reads=["a"], update=torchopt.sgd(0.1), batches=[mine])
    a = mlo.Problem(
        "a", lambda v, b: v.w(b).float().mean(), torch.zeros(1), reads=["w"], update=torchopt.sgd(0.1), batches=[mine]
    )
    mlo.hypergradient(mlo.ProblemGraph([a, w]), of="a")
    return str(found[0].dtype), float((found[0].float() - due).abs().max())


def test_half_precision_comes_in_and_goes_out_and_sums_are_in_single():
    # bfloat16 has 8 bits: numbers of size 2 are given to 8e-3. Sums of it, of numbers near 30, would be off by 1e-1.
    for dtype, gap in launch(half, 2):
        assert dtype == "torch.bfloat16"
        assert gap < 1e-2
