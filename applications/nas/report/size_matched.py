"""Cells beside random cells of their size: larger networks tend to err less, however their cells were found."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

import numpy as np

from applications.nas.report.comparisons import RANDOM, closest
from applications.nas.report.inference import ALL_EQUAL, NO_TEST, Difference, quantile, welch_freedom
from applications.nas.report.rows import Row
from applications.nas.report.table import Table

FEWEST = 8
"""Random cells that a line needs."""
NEAREST = 3
"""Random cells whose mean stands in for a line."""
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True)
class SizeMatched:
    """A row beside random cells of the size of its cells.

    Attributes:
        task: Name of the task.
        metric: What was measured.
        method: The row.
        rival: The random cells.
        by_line: How many of its cells were compared with the line; the others with the random cells nearest in size.
        gap: The largest difference in size, in parameters, from a random cell that stood in for a line; 0 if none did.
        expected: The metric that random cells of these sizes have, the mean over the row's cells.
        difference: Expected minus measured: positive where the method is better than its size explains.
    """

    task: str
    metric: str
    method: Row
    rival: Row
    by_line: int
    gap: float
    expected: float
    difference: Difference


def size_matched(table: Table) -> list[SizeMatched]:
    """Compare each row with the random cells of its table."""
    random = [row for row in table.rows if row.base == RANDOM]
    return [_match(table, row, rival) for row in table.rows if row.base != RANDOM for rival in closest(row, random)]


def _match(table: Table, row: Row, rival: Row) -> SizeMatched:
    sizes, errors = _numbers(rival)
    wanted, measured = _numbers(row)
    shares, on_line, gap = expectation(sizes, wanted)
    expected = shares @ errors
    difference = compare_expected(sizes, errors, shares, expected - measured)
    return SizeMatched(table.task, table.metric, row, rival, on_line, gap, float(expected.mean()), difference)


def expectation(sizes: Array, wanted: Array) -> tuple[Array, int, float]:
    """Return with what share each random cell counts in the metric expected at some sizes.

    At a size within the range of 8 random cells or more it is the least-squares line of metric on size, which is a
    weighted sum of the metrics; elsewhere it is the mean of the 3 random cells nearest in size, and of any as near.

    Args:
        sizes: Of the random cells, (n,).
        wanted: Of other cells, (m,).

    Returns:
        Shares (m, n), whose rows sum to 1; how many sizes are on the line; the largest gap to a cell that stands in.
    """
    center = sizes.mean()
    squares = float(((sizes - center) ** 2).sum())
    fits = len(sizes) >= FEWEST and squares > 0
    shares, on_line, gap = np.zeros((len(wanted), len(sizes))), 0, 0.0
    for index, size in enumerate(wanted):
        if fits and sizes.min() <= size <= sizes.max():
            shares[index] = 1 / len(sizes) + (size - center) * (sizes - center) / squares
            on_line += 1
        else:
            away = np.abs(sizes - size)
            limit = np.sort(away)[min(NEAREST, len(sizes)) - 1]
            shares[index] = (away <= limit) / (away <= limit).sum()
            gap = max(gap, float(limit))
    return shares, on_line, gap


def compare_expected(sizes: Array, errors: Array, shares: Array, differences: Array) -> Difference:
    """Return the mean of expected minus measured with an interval that knows both to be uncertain.

    The variance of the mean is that of the row's cells plus that of what was expected: the residual variance of the
    random cells times the sum of their squared mean shares, which for a line is the variance of the fitted mean. The
    degrees of freedom are Welch's.

    Args:
        sizes: Of the random cells, (n,).
        errors: Their metric, (n,).
        shares: Of the random cells in what was expected of each cell of the row, (m, n).
        differences: Expected minus measured, (m,).

    Source: "Applied Regression Analysis", Draper, Smith, 1998, on the variance of a fitted mean; "The generalization of
        'Student's' problem when several different population variances are involved", Welch, 1947.
    """
    counts, mean = (len(differences), len(errors)), float(differences.mean())
    if min(counts) < 2:
        return Difference(NO_TEST, counts, mean)
    residual, freedom = _residual(sizes, errors)
    own = statistics.stdev(differences.tolist())
    parts = (own / math.sqrt(counts[0]), residual * float(np.linalg.norm(shares.mean(axis=0))))
    if math.hypot(*parts) <= 1e-9 * float(np.abs(errors).max()):  # what rounding leaves of equal numbers
        return Difference(ALL_EQUAL, counts, mean, 0.0)
    degrees = welch_freedom(parts, (counts[0] - 1, freedom))
    half = quantile(degrees) * math.hypot(*parts)
    return Difference("size-matched t", counts, mean, own, mean - half, mean + half, freedom=degrees)


def _residual(sizes: Array, errors: Array) -> tuple[float, float]:
    """Return the deviation of random cells from their line, or from their mean if they are too few for one."""
    center = sizes - sizes.mean()
    squares = float((center**2).sum())
    about = errors - errors.mean()
    freedom = len(errors) - 1.0
    if len(sizes) >= FEWEST and squares > 0:
        about, freedom = about - center * float(center @ errors) / squares, freedom - 1
    return math.hypot(*about.tolist()) / math.sqrt(freedom), freedom  # hypot: squares of large numbers overflow


def _numbers(row: Row) -> tuple[Array, Array]:
    sizes = np.array([sample.parameters for sample in row.samples], dtype=np.float64)
    return sizes, np.array([sample.error for sample in row.samples], dtype=np.float64)
