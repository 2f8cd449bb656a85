"""How many seeds would decide a question that some seeds have left open."""

from __future__ import annotations

import math

from scipy import special

from applications.nas.report.inference import quantile
from mlo import DataError

POWER = 0.8
"""Share of repetitions in which a difference that is there is to be seen."""
BOUND = 0.8
"""Confidence of the upper bound on the standard deviation."""
MOST = 1_000_000
"""Seeds beyond which none are counted."""


def deviation_bound(deviation: float, freedom: float) -> float:
    """Return an upper bound, of 80 % confidence, on the standard deviation of which one was measured.

    Args:
        deviation: The measured one.
        freedom: Its degrees of freedom, n - 1.

    Source: "On the use of a pilot sample for sample size determination", Browne, 1995.
    """
    return deviation * math.sqrt(freedom / float(special.chdtri(freedom, BOUND)))


def power(seeds: int, deviation: float, difference: float) -> float:
    """Return how often the interval of 95 % of a paired t-test lies above 0.

    Args:
        seeds: Pairs, two or more.
        deviation: True standard deviation of the differences.
        difference: Their true mean.
    """
    freedom = seeds - 1.0
    shift = difference * math.sqrt(seeds) / deviation
    return 1.0 - float(special.nctdtr(freedom, shift, quantile(freedom)))


def seeds_needed(deviation: float, difference: float, wanted: float = POWER) -> int | None:
    """Return the smallest number of pairs with which a paired t-test at 5 % sees a difference often enough.

    The same number sees a method that is no better fall below that difference as often, for the two are mirror images.

    Args:
        deviation: Standard deviation of the differences.
        difference: What is to be seen; positive.
        wanted: How often.

    Returns:
        The number; None if it is beyond `MOST`.

    Raises:
        DataError: If the difference is not positive, or the deviation negative or not finite.
    """
    if not (difference > 0 and math.isfinite(deviation) and deviation >= 0):
        raise DataError(f"seeds: deviation {deviation}, difference {difference}: the difference must be positive")
    if deviation == 0:
        return 2
    low, high = 1, 2  # low never suffices: one pair has no spread
    while power(high, deviation, difference) < wanted:
        if high >= MOST:
            return None
        low, high = high, min(2 * high, MOST)
    while high - low > 1:
        middle = (low + high) // 2
        if power(middle, deviation, difference) < wanted:
            low = middle
        else:
            high = middle
    return high
