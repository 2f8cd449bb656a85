"""What a difference between two methods is worth: Student's and Welch's intervals, and effect sizes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

from mlo import DataError

LEVEL = 0.95
"""Of confidence intervals."""
PAIRED = "paired t"
WELCH = "Welch t"
NO_TEST = "one seed: no spread"
ALL_EQUAL = "all differences are equal: no spread"
_EQUAL = 1e-9  # of the largest value: rounding leaves that much where numbers are equal


@dataclass(frozen=True)
class Difference:
    """How much smaller the numbers of a method are than those of its rival.

    Attributes:
        test: `PAIRED`, `WELCH`, or in words why there is no interval.
        counts: Numbers of the method and of the rival that it rests on; of a paired one, the pairs, twice.
        mean: Mean of the rival minus mean of the method: positive where the method is better.
        deviation: Standard deviation of the difference of one number from the other; None for fewer than two.
        low: Lower end of the interval of 95 %.
        high: Upper end.
        effect: Standardized mean difference.
        hedges: The same without its bias in small samples.
        freedom: Degrees of freedom.
    """

    test: str
    counts: tuple[int, int]
    mean: float
    deviation: float | None = None
    low: float | None = None
    high: float | None = None
    effect: float | None = None
    hedges: float | None = None
    freedom: float | None = None


def paired(method: Sequence[float], rival: Sequence[float]) -> Difference:
    """Compare numbers that belong together two by two.

    The interval is Student's for the mean of the differences; the effect size is d_z, mean over standard deviation of
    the differences, with Hedges' correction for n - 1 degrees of freedom.

    Args:
        method: Numbers of the method; smaller is better.
        rival: Those of the rival, in the same order.

    Raises:
        DataError: If a number is not finite, there is none, or they are not equally many.

    Source: "The probable error of a mean", Student, 1908; d_z: "Calculating and reporting effect sizes to facilitate
        cumulative science", Lakens, 2013.
    """
    _check(method, rival)
    if len(method) != len(rival):
        raise DataError(f"pairs: {len(method)} numbers against {len(rival)}: give one of each for every pair")
    differences = [theirs - ours for ours, theirs in zip(method, rival, strict=True)]
    mean, counts = statistics.fmean(differences), (len(method), len(rival))
    if len(differences) < 2:
        return Difference(NO_TEST, counts, mean)
    deviation, freedom = statistics.stdev(differences), len(differences) - 1.0
    if deviation <= _EQUAL * max(map(abs, (*method, *rival))):
        return Difference(ALL_EQUAL, counts, mean, 0.0, freedom=freedom)
    half = quantile(freedom) * deviation / math.sqrt(len(differences))
    effect = mean / deviation
    return _with_interval(PAIRED, counts, mean, deviation, half, effect, freedom, freedom)


def welch(method: Sequence[float], rival: Sequence[float]) -> Difference:
    """Compare numbers that do not belong together, whose variances may differ.

    The effect size is Cohen's d with the pooled standard deviation, with Hedges' correction for n1 + n2 - 2 degrees of
    freedom.

    Args:
        method: Numbers of the method; smaller is better.
        rival: Those of the rival.

    Raises:
        DataError: If a number is not finite, or there is none.

    Source: "The generalization of 'Student's' problem when several different population variances are involved",
        Welch, 1947; "Distribution theory for Glass's estimator of effect size and related estimators", Hedges, 1981.
    """
    _check(method, rival)
    mean, counts = statistics.fmean(rival) - statistics.fmean(method), (len(method), len(rival))
    if min(counts) < 2:
        return Difference(NO_TEST, counts, mean)
    first, second = statistics.stdev(method), statistics.stdev(rival)
    deviation = math.hypot(first, second)
    if deviation <= _EQUAL * max(map(abs, (*method, *rival))):
        return Difference(ALL_EQUAL, counts, mean, 0.0)
    errors = (first / math.sqrt(counts[0]), second / math.sqrt(counts[1]))
    freedom = welch_freedom(errors, (counts[0] - 1, counts[1] - 1))
    half = quantile(freedom) * math.hypot(*errors)
    together = sum(counts) - 2.0
    shares = (math.sqrt((counts[0] - 1) / together), math.sqrt((counts[1] - 1) / together))
    pooled = math.hypot(first * shares[0], second * shares[1])
    return _with_interval(WELCH, counts, mean, deviation, half, mean / pooled, freedom, together)


def welch_freedom(errors: Sequence[float], freedoms: Sequence[float]) -> float:
    """Return the degrees of freedom of the sum of independent numbers.

    Args:
        errors: Their standard errors; one or more is positive.
        freedoms: The degrees of freedom of each.

    Source: "An approximate distribution of estimates of variance components", Satterthwaite, 1946.
    """
    squares = [(error / max(errors)) ** 2 for error in errors]  # so that no square is too large or too small
    return sum(squares) ** 2 / sum(square**2 / freedom for square, freedom in zip(squares, freedoms, strict=True))


def quantile(freedom: float) -> float:
    """Return how many standard errors an interval of 95 % reaches to either side."""
    return float(special.stdtrit(freedom, (1 + LEVEL) / 2))


def hedges_factor(freedom: float) -> float | None:
    """Return what takes the bias from a standardized difference, exactly; None for fewer than two degrees of freedom.

    Source: "Distribution theory for Glass's estimator of effect size and related estimators", Hedges, 1981.
    """
    if freedom < 2:
        return None  # the mean of the estimate is infinite, or not defined
    logarithm = special.gammaln(freedom / 2) - special.gammaln((freedom - 1) / 2) - math.log(freedom / 2) / 2
    return float(math.exp(logarithm))


def _with_interval(
    test: str,
    counts: tuple[int, int],
    mean: float,
    deviation: float,
    half: float,
    effect: float,
    freedom: float,
    of_effect: float,
) -> Difference:
    factor = hedges_factor(of_effect)
    hedges = None if factor is None else effect * factor
    return Difference(test, counts, mean, deviation, mean - half, mean + half, effect, hedges, freedom)


def _check(method: Sequence[float], rival: Sequence[float]) -> None:
    for name, values in (("method", method), ("rival", rival)):
        if not values:
            raise DataError(f"{name}: no number to compare: give one or more")
        wrong = [value for value in values if not math.isfinite(value)]
        if wrong:
            raise DataError(f"{name}: {wrong[0]} is not a finite number, and cannot be compared: leave that run out")
