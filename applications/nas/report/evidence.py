"""All that a report works out from its tables: comparisons, size-matched ones, and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from applications.nas.report.claims import Claim
from applications.nas.report.comparisons import Comparison, default_comparisons
from applications.nas.report.size_matched import SizeMatched, size_matched
from applications.nas.report.table import Table
from applications.nas.report.verdicts import Verdict, judge


@dataclass(frozen=True)
class Evidence:
    """What was worked out from tables.

    Attributes:
        comparisons: Rows beside their rivals, and those that claims are about.
        matched: Rows beside random cells of their size.
        verdicts: What the rows say about claims.
    """

    comparisons: tuple[Comparison, ...]
    matched: tuple[SizeMatched, ...]
    verdicts: tuple[Verdict, ...]


def weigh(tables: Sequence[Table], claims: Sequence[Claim]) -> Evidence:
    """Work out all that tables say.

    Args:
        tables: Of all tasks.
        claims: To be judged.

    Raises:
        DataError: If a number of a row is not finite.
    """
    verdicts = judge(claims, tables)
    judged = [verdict.comparison for verdict in verdicts if verdict.comparison is not None]
    found: dict[tuple[object, ...], Comparison] = {}
    for one in [*(one for table in tables for one in default_comparisons(table)), *judged]:
        key = (one.measure, id(one.method), id(one.rival))  # rows, not their names: each stands for itself
        found.setdefault(key, one)
    matched = tuple(one for table in tables for one in size_matched(table))
    return Evidence(tuple(found.values()), matched, tuple(verdicts))
