"""What ranks send each other in one step, for the children of a launch."""

from __future__ import annotations

from collections import Counter
from unittest import mock

import torch
import torch.distributed as dist

import mlo
from tests.parallel.graphs import Share, bilevel, chain, decayed


def counting(name, counts):
    """Count the calls of a function of torch.distributed."""
    plain = getattr(dist, name)

    def counted(*args, **options):
        counts[name] += 1
        return plain(*args, **options)

    return mock.patch.object(dist, name, counted)


def operations(graph, ranks):
    """Return what the second step takes: the first one also looks at the losses' reads."""
    engine, counts = mlo.Engine(graph, parallel=ranks), Counter()
    engine.step()
    with counting("all_reduce", counts), counting("all_gather", counts), counting("broadcast", counts):
        report = engine.step()
    solves = sum(solve.iterations for solve in report.solves.values())
    return dict(counts), report.gradients, report.products, solves


def shares_of_batches(rules):
    share = Share(dist.get_rank(), dist.get_world_size())
    return {name: operations(bilevel(rule, share, 8, loss=decayed), mlo.Parallel()) for name, rule in rules.items()}


def shares_of_stages():
    ranks = mlo.Parallel(stages=dist.get_world_size())
    graphs = [chain(mlo.Unroll(), Share(), 6, summed=False), chain(mlo.Unroll(), Share(), 6)]
    torch.manual_seed(0)
    return [operations(graph, ranks) for graph in graphs]
