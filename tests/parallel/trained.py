"""Train a graph on ranks or on one process, and compare what came of it."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
import torch.distributed as dist

import mlo
from tests.parallel.graphs import Share


@dataclass(frozen=True)
class Case:
    """One graph, trained some steps: `make(share=...)` returns the graph, `engine` are options of the engine.

    Steps in `frozen` leave the outermost problem as it is.
    """

    name: str
    make: partial
    engine: dict = field(default_factory=dict)
    steps: int = 5
    frozen: tuple[int, ...] = ()


def flat(values):
    """Return all numbers of a nest of tensors as one vector."""
    if isinstance(values, dict):
        parts = [flat(value) for value in values.values()]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)
    return values.detach().double().reshape(-1)


def trained(case, share, ranks):
    """Return values and buffers after training, and the last report."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mlo.UnconvergedWarning)  # a solve may be cut short: on every rank at one place
        engine = mlo.Engine(case.make(share=share), parallel=ranks, **case.engine)
        for step in range(case.steps):
            report = engine.step(frozen=step in case.frozen)
    buffers = {name: {k: b.float() for k, b in found.items()} for name, found in engine._buffers.items()}
    losses = torch.tensor(list(report.losses.values()) + list(report.norms.values()), dtype=torch.float64)
    found = {"values": flat(engine.values), "buffers": flat(buffers), "losses": losses}
    return {key: value.numpy() for key, value in found.items()}, report.gradients


def on_ranks(table, stages=1):
    """Train each case of a table of `tests.parallel.cases` on these ranks; for the children of a launch."""
    cases = getattr(importlib.import_module("tests.parallel.cases"), table)
    ranks = mlo.Parallel(stages=stages)
    share = Share(dist.get_rank() // stages, ranks.replicas)
    return {case.name: trained(case, share, ranks) for case in cases}


def apart(found, truth):
    """Return the largest distance between two outcomes, relative to the size of the numbers, or to 1."""
    gaps = [np.abs(found[key] - truth[key]) / np.maximum(np.abs(truth[key]), 1.0) for key in truth]
    return float(np.concatenate(gaps).max())


def assert_as_one(cases, found, tolerance):
    """Compare what all ranks found, which is to be the same bits, with one process that has all the data."""
    wrong = {}
    for case in cases:
        mine = [of_rank[case.name][0] for of_rank in found]
        truth, _ = trained(case, Share(), mlo.Alone())
        for rank, values in enumerate(mine):
            if any(not np.array_equal(values[key], mine[0][key]) for key in values):
                wrong[case.name] = f"rank {rank} differs from rank 0 by {apart(values, mine[0]):.1e}"
        distance = apart(mine[0], truth)
        if not distance <= tolerance:
            wrong.setdefault(case.name, f"{distance:.1e} from one process")
    assert wrong == {}
