"""Which rows of a table are compared with which, and what comes out."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from applications.nas.report.inference import Difference, paired, welch
from applications.nas.report.rows import Row
from applications.nas.report.samples import Sample
from applications.nas.report.settings_diff import differences
from applications.nas.report.table import Table

RANDOM = "random"
Measure = Literal["error", "parameters"]


@dataclass(frozen=True)
class Comparison:
    """A method beside a rival, on one task.

    Attributes:
        task: Name of the task.
        metric: What the numbers are.
        measure: Whether the metric is compared, or the size: in percent of the rival's, of the same seed if they are
            paired, else of its mean.
        method: The row.
        rival: The row that it is compared with.
        difference: By how much the method's numbers are smaller.
        unequal: Paths of settings in which the rows differ besides what is compared.
    """

    task: str
    metric: str
    measure: Measure
    method: Row
    rival: Row
    difference: Difference
    unequal: tuple[str, ...] = ()


def default_comparisons(table: Table) -> list[Comparison]:
    """Compare interleaving with multi-task and single-task search by the same method, and every row with random cells.

    Args:
        table: Rows of one task.
    """
    found = []
    for row in table.rows:
        rivals = [_rivals(table, row, form) for form in ("multi", "single")]
        if row.base != RANDOM:
            rivals.append([other for other in table.rows if other.base == RANDOM])
        found += [compare(table, row, rival) for group in rivals for rival in closest(row, group)]
    return found


def compare(table: Table, method: Row, rival: Row, measure: Measure = "error", about: Sequence[str] = ()) -> Comparison:
    """Compare two rows: by seed of their searches if they share two or more, else as independent samples.

    Args:
        table: Their table.
        method: One row.
        rival: The other.
        measure: What of them.
        about: Settings that the comparison is about, by dotted path.
    """
    ours, theirs = _by_seed(method, measure), _by_seed(rival, measure)
    common = [seed for seed in ours if seed in theirs and seed is not None]
    if len(common) > 1:
        units = [theirs[seed] / 100 if measure == "parameters" else 1.0 for seed in common]
        both = [[numbers[seed] / unit for seed, unit in zip(common, units, strict=True)] for numbers in (ours, theirs)]
        difference = paired(*both)
    else:
        scale = 100 / rival.parameters if measure == "parameters" else 1.0
        numbers = [[scale * _value(sample, measure) for sample in row.samples] for row in (method, rival)]
        difference = welch(*numbers)
    return Comparison(table.task, table.metric, measure, method, rival, difference, _unequal(method, rival, about))


def closest(row: Row, rivals: Sequence[Row], about: Sequence[str] = ()) -> list[Row]:
    """Return those of some rows whose other settings differ least from those of a row; nothing is compared with itself.

    Args:
        row: The row.
        rivals: Those to choose from.
        about: Settings that are to differ, by dotted path.
    """
    others = [rival for rival in rivals if rival is not row]
    apart = [len(_unequal(row, rival, about)) for rival in others]
    return [rival for rival, count in zip(others, apart, strict=True) if count == min(apart)]


def _value(sample: Sample, measure: Measure) -> float:
    return sample.error if measure == "error" else float(sample.parameters)


def _rivals(table: Table, row: Row, form: str) -> list[Row]:
    """Return the rows of the same method in another formulation, if a row is of interleaving.

    What was searched on the table's task is compared with what was, too, and what was searched elsewhere likewise.
    """
    mine = row.search
    if mine is None or mine.formulation != "interleaving":
        return []
    wanted = (mine.method, form, table.task in mine.tasks)
    found = [(other, other.search) for other in table.rows if other.search is not None]
    return [other for other, one in found if (one.method, one.formulation, table.task in one.tasks) == wanted]


def _by_seed(row: Row, measure: Measure) -> dict[int | None, float]:
    found: dict[int | None, list[float]] = {}
    for sample in row.samples:
        found.setdefault(sample.seed, []).append(_value(sample, measure))
    return {seed: statistics.fmean(values) for seed, values in found.items()}


def _unequal(row: Row, rival: Row, about: Sequence[str]) -> tuple[str, ...]:
    """Return the paths at which two rows differ, but for what tells apart the kinds of search that are compared."""
    if row.search is None or rival.search is None:
        skipped: tuple[str, ...] = tuple(path for path in (*row.settings, *rival.settings) if path[:8] != "retrain.")
    elif row.search.formulation != rival.search.formulation:
        skipped = tuple(path for path in (*row.settings, *rival.settings) if path.startswith("formulation."))
    else:
        skipped = ()
    return tuple(path for path in differences([row.settings, rival.settings]) if path not in {*skipped, *about})
