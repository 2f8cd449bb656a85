"""Random quadratic graphs of which each rank has another part, for the children of a launch."""

from __future__ import annotations

from dataclasses import replace

import hypothesis
import torch
import torch.distributed as dist
from hypothesis import given, settings

import mlo
from mlo.testing.strategies import quadratic_graphs

FEW = settings(
    deadline=None, derandomize=True, database=None, max_examples=15, suppress_health_check=list(hypothesis.HealthCheck)
)


def bent(problem, weight):
    """Return a problem whose loss has a cubic term more; over all ranks, the weights sum to zero."""

    def loss(v, batch):
        seen = torch.cat([v[name] for name in (problem.name, *problem.reads)])
        return problem.loss(v, batch) + weight * (0.3 * (seen**3).sum() + torch.outer(seen, seen.flip(0)).sum())

    return replace(problem, loss=loss)


def parts(graph):
    """Return this rank's part: all together, the mean over ranks, are the quadratic graph."""
    rank, world = dist.get_rank(), dist.get_world_size()
    weight = float(rank - (world - 1) / 2)
    return mlo.ProblemGraph([bent(problem, weight) for problem in graph.problems])


def worst(rules, levels):
    """Return the largest relative distance of a hypergradient from the closed form, over many graphs."""
    gaps = []

    @FEW
    @given(quadratic_graphs(levels=levels, rules=rules))
    def draw(drawn):
        found = mlo.hypergradient(parts(drawn.graph), of=drawn.of)
        gaps.append(float((found - drawn.hypergradient).norm() / drawn.hypergradient.norm()))

    draw()
    return max(gaps), len(gaps)


def all_worst(table):
    return {name: worst(rules, levels) for name, (rules, levels) in table.items()}
