"""Comparisons and verdicts as sheets, with the notes without which they would mislead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from applications.nas.report.comparisons import Comparison
from applications.nas.report.evidence import Evidence
from applications.nas.report.sheet import Sheet
from applications.nas.report.size_matched import SizeMatched
from applications.nas.report.verdict_sheet import verdict_sheet
from applications.nas.report.written import INTERVAL, SEEDS, SIGN, amount, counts, interval, signed

_Row = TypeVar("_Row", Comparison, SizeMatched)


def sheets(evidence: Evidence) -> list[Sheet]:
    """Return sheets of all that was worked out, task by task; the first of a kind has the notes that hold for all."""
    compared = [_comparisons(task, metric, rows) for (task, metric), rows in _by_task(evidence.comparisons).items()]
    matched = [_matched(task, metric, rows) for (task, metric), rows in _by_task(evidence.matched).items()]
    if compared:
        compared[0] = replace(compared[0], notes=(*_ABOUT_COMPARISONS, *compared[0].notes))
    if matched:
        matched[0] = replace(matched[0], notes=(*_ABOUT_MATCHED, *matched[0].notes))
    verdicts = verdict_sheet(evidence.verdicts)
    return [*compared, *matched, *([] if verdicts is None else [verdicts])]


_ABOUT_COMPARISONS = (
    f"{SIGN} In the unit of the metric: points for an error in percent.",
    "paired t: searches with the same seed are one pair, each with the mean of its retrainings; sd and d (d_z) are "
    "those of the differences. Welch t: fewer than two seeds are shared; n is that of the method and of the rival, sd "
    "that of one number minus another, d that by the pooled deviation.",
    f"{INTERVAL} {SEEDS}",
)
_ABOUT_MATCHED = (
    "Expected: the metric of a random cell with as many parameters. The difference, expected minus measured, is what "
    "size does not explain: above 0 the method is better. sd is over cells.",
    "line: least squares over 8 random cells or more, some smaller and some larger. Else: the mean of the 3 nearest in "
    "size, with the largest gap in size.",
    f"The interval takes cells and random cells for samples. {INTERVAL}",
)


def _by_task(rows: Sequence[_Row]) -> dict[tuple[str, str], list[_Row]]:
    found: dict[tuple[str, str], list[_Row]] = {}
    for row in rows:
        found.setdefault((row.task, row.metric), []).append(row)
    return found


def _comparisons(task: str, metric: str, comparisons: Sequence[Comparison]) -> Sheet:
    header = ("method", "against", "test", "n", "difference", "sd", "95 % interval", "d", "Hedges' g")
    rows = tuple(
        (
            one.method.method,
            one.rival.method + (", size in %" if one.measure == "parameters" else ""),
            one.difference.test,
            counts(one.difference),
            signed(one.difference.mean),
            amount(one.difference.deviation),
            interval(one.difference),
            amount(one.difference.effect),
            amount(one.difference.hedges),
        )
        for one in comparisons
    )
    notes = [
        f"{one.method.method} against {one.rival.method}: they differ in {', '.join(one.unequal)}, too."
        for one in comparisons
        if one.unequal
    ]
    return Sheet(f"Comparisons: {task}, {metric}", header, 3, rows, tuple(notes))


def _matched(task: str, metric: str, matched: Sequence[SizeMatched]) -> Sheet:
    header = ("method", "expected by", "cells / random", "expected", "measured", "difference", "sd", "95 % interval")
    rows = tuple(
        (
            one.method.method,
            _stand_in(one),
            counts(one.difference),
            amount(one.expected),
            amount(one.expected - one.difference.mean),
            signed(one.difference.mean),
            amount(one.difference.deviation),
            interval(one.difference),
        )
        for one in matched
    )
    return Sheet(f"Against random cells of its size: {task}, {metric}", header, 2, rows, ())


def _stand_in(one: SizeMatched) -> str:
    cells = one.difference.counts[0]
    if one.by_line == cells:
        return "line"
    nearest = f"nearest, gap {one.gap / 1e6:.2g} M"
    return nearest if one.by_line == 0 else f"line for {one.by_line}; {nearest}, for {cells - one.by_line}"
