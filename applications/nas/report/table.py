"""Tables of one task: measured rows, quoted rows, and the notes without which they would mislead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from applications.nas.report.quoted import Quoted, is_part, same_data
from applications.nas.report.records import Retrained
from applications.nas.report.rows import Row, measured_rows
from applications.nas.report.settings_diff import describe, differences
from applications.nas.report.spread import apart

MARK = "†"
"""Stands behind the name of each quoted row."""


@dataclass(frozen=True)
class Table:
    """One task.

    Attributes:
        task: Its name.
        metric: What is compared; smaller is better.
        rows: What was measured, the smallest mean first.
        best: Numbers of the measured rows that no other is shown to beat; empty if that is all of them.
        quoted: What was published about the same data set, in the order of its file.
        notes: What must be known to read the table.
    """

    task: str
    metric: str
    rows: tuple[Row, ...]
    best: frozenset[int]
    quoted: tuple[Quoted, ...]
    notes: tuple[str, ...]


def references(rows: Sequence[Quoted]) -> dict[str, int]:
    """Return the number by which a table refers to each source."""
    return {source: number for number, source in enumerate(dict.fromkeys(row.source for row in rows), start=1)}


def make_tables(runs: Sequence[Retrained], quoted: Sequence[Quoted]) -> list[Table]:
    """Return a table for each task and metric that retrainings were tested on.

    Args:
        runs: Finished retrainings.
        quoted: Published rows, of any data sets.
    """
    tasks = dict.fromkeys((test.task, test.metric) for run in runs for test in run.tests)
    return [_table(runs, task, metric, quoted) for task, metric in tasks]


def _table(runs: Sequence[Retrained], task: str, metric: str, quoted: Sequence[Quoted]) -> Table:
    rows = measured_rows(runs, task, metric)
    # Published figures are errors in percent.
    fitting = [row for row in quoted if metric == "error %" and same_data(row.table, task)]
    best = _best(rows, metric)
    notes = [*_about_measured(rows, best, metric), *_about_quoted(fitting, task)]
    return Table(task, metric, tuple(rows), best, tuple(fitting), tuple(notes))


def _best(rows: Sequence[Row], metric: str) -> frozenset[int]:
    close = [
        index for index, row in enumerate(rows) if index == 0 or not apart(rows[0].error, row.error, metric, row.tested)
    ]
    return frozenset(close) if len(close) < len(rows) else frozenset()


def _about_measured(rows: Sequence[Row], best: frozenset[int], metric: str) -> list[str]:
    notes = [
        f"Test {metric}: mean ± standard deviation (divided by n - 1). With two searches or more, each "
        "counts with the mean of its retrainings, and the deviation is over searches; with one, it is over the "
        'retrainings of its cell. The column "over" says which.',
        "Search cost is measured wall time times devices, without the retraining; a GPU day and a CPU day are not the "
        "same.",
    ]
    if any(row.skips is not None for row in rows):
        notes.append("skips: skip connections of the normal cell, the mean over cells.")
    if len(rows) > 1:
        notes.append(_verdict(rows, best))
    trained = [{path: text for path, text in row.settings.items() if path.startswith("retrain.")} for row in rows]
    unequal = differences(trained)
    if unequal:
        told = "; ".join(f"{row.method}: {describe(one, unequal)}" for row, one in zip(rows, trained, strict=True))
        notes.append(
            f"Unequal budgets: the rows were not retrained in the same way, so they cannot be compared. {told}."
        )
    if len({row.tested for row in rows}) > 1:
        told = ", ".join(f"{row.method}: {row.tested}" for row in rows)
        notes.append(f"The rows were not tested on equally many images ({told}).")
    if any(row.repeated for row in rows):
        count = sum(row.repeated for row in rows)
        notes.append(f"Trainings that repeat another (same cell, seed and settings) count once: {count} left out.")
    return notes


def _verdict(rows: Sequence[Row], best: frozenset[int]) -> str:
    rule = "twice the larger of the two deviations and of the counting error on the test images"
    if not best:
        single = any(row.error.deviation is None for row in rows)
        why = " (a row without a deviation is told apart from none)" if single else ""
        return f"No row is bold: no measured row differs from the first by more than {rule}{why}."
    if len(best) == 1:
        return f"Bold: the smallest measured mean; every other measured row is above it by more than {rule}."
    return f"Bold: the smallest measured mean and those that are not told apart from it, being within {rule}."


def _about_quoted(rows: Sequence[Quoted], task: str) -> list[str]:
    if not rows:
        return []
    notes = [
        f"{MARK} Quoted from the source named, not measured here: other code, other hardware, and often other budgets. "
        "Quoted rows take no part in the order or in what is bold."
    ]
    if is_part(task):
        notes.append(f"{task} is a part of {rows[0].table}; the quoted rows were trained and tested on all of it.")
    if any(not row.checked for row in rows):
        notes.append("A source with (unchecked) was quoted from memory and not compared with the paper.")
    return notes + [f"[{number}] {source}" for source, number in references(rows).items()]
