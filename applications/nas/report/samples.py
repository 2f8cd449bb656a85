"""One cell of a row: what its comparisons rest on."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from applications.nas.report.records import Retrained, Tested
from applications.nas.space.genotype import Genotype
from mlo import DataError


@dataclass(frozen=True)
class Sample:
    """A cell with its retrainings on one task.

    Attributes:
        seed: Of the search that found it; None for a cell that no search found.
        error: The metric, the mean of its retrainings.
        parameters: Weights of its network.
        days: What the search and these retrainings took, in days of one device; None if it is not known.
        skips: Skip connections of the normal cell; None if they are not known.
    """

    seed: int | None
    error: float
    parameters: int
    days: float | None
    skips: int | None


def make_sample(run: Retrained, tests: Sequence[Tested]) -> Sample:
    """Return the sample of a cell.

    Args:
        run: A retraining of it.
        tests: All its networks on one task.
    """
    seconds = [test.seconds for test in tests if test.seconds is not None]
    days = None
    if len(seconds) == len(tests) and (run.search is not None or run.cell == "random"):
        days = sum(seconds) * run.devices / 86400 + (0.0 if run.search is None else run.search.days)
    seed = None if run.search is None else run.search.seed
    return Sample(seed, statistics.fmean(test.error for test in tests), tests[0].parameters, days, _skips(run))


def _skips(run: Retrained) -> int | None:
    if run.search is not None:
        return run.search.skips.get("normal")
    try:
        cell = Genotype.from_json(run.genotype).normal
    except DataError:  # a network that is no cell, or a name
        return None
    return sum(edge.operation == "skip_connect" for edge in cell.edges)
