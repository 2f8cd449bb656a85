"""Mean and spread of repeated measurements, and what a difference between two of them is worth."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MARGIN = 2.0
"""How many times the larger of spread and counting error a difference must exceed to be called one."""


@dataclass(frozen=True)
class Spread:
    """A mean and the standard deviation of a sample.

    Attributes:
        mean: The mean.
        deviation: Standard deviation, divided by n - 1; None for a single value.
        count: n.
        over: What was repeated: "searches", "cells" or "retrainings".
        each: Retrainings of each search or cell, over which it was averaged first; 1 if the retrainings are what was
            repeated. None if their numbers differ.
    """

    mean: float
    deviation: float | None
    count: int
    over: str
    each: int | None = 1

    def __str__(self) -> str:
        """Write "mean ± deviation", or the mean alone."""
        return f"{self.mean:.2f}" if self.deviation is None else f"{self.mean:.2f} ± {self.deviation:.2f}"

    @property
    def basis(self) -> str:
        """Over what the spread is, in words."""
        many = self.over if self.count > 1 else {"searches": "search"}.get(self.over, self.over[:-1])
        if self.each == 1:
            return f"{self.count} {many}"
        return f"{self.count} {many}, {self.each if self.each is not None else 'several'} retrainings each"


def spread(groups: Mapping[Any, Sequence[float]], over: str) -> Spread:
    """Summarize measurements that are repeated in two ways.

    With two groups or more, each group's mean is one observation, so that a search that was retrained often counts no
    more than another. With one group the observations are its members.

    Args:
        groups: For each search, or cell, the results of its retrainings; none is empty.
        over: What the groups are: "searches" or "cells".
    """
    if len(groups) == 1:
        values, each = list(next(iter(groups.values()))), 1
        over = "retrainings"
    else:
        values = [statistics.fmean(group) for group in groups.values()]
        sizes = {len(group) for group in groups.values()}
        deviation = statistics.stdev(values)
        return Spread(statistics.fmean(values), deviation, len(values), over, sizes.pop() if len(sizes) == 1 else None)
    return Spread(
        statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values), over, each
    )


def counting_error(error: float, tested: int) -> float:
    """Return the standard deviation, in points of percent, with which a number of images measures an error.

    It is that of a binomial share, taken as no less than that of one wrong image.

    Args:
        error: In percent; above 50 it is taken as 50.
        tested: Number of test images.
    """
    share = min(max(error / 100, 1 / tested), 0.5)
    return 100 * math.sqrt(share * (1 - share) / tested)


def apart(first: Spread, second: Spread, metric: str, tested: int) -> bool:
    """Say whether two means differ by more than chance lets expect.

    The margin is twice the largest of the two spreads and, for a share of wrong answers, of the counting error on the
    test images. Without a spread nothing is told apart.

    Args:
        first: One.
        second: The other.
        metric: Name of the metric; "error %" has a counting error.
        tested: Number of test images.
    """
    if first.deviation is None or second.deviation is None:
        return False
    counting = 0.0
    if metric == "error %":
        counting = counting_error(min(first.mean, second.mean), tested)
    return abs(first.mean - second.mean) > MARGIN * max(counting, first.deviation, second.deviation)
