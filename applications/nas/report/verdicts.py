"""What measured rows say about claims: supported, refuted, or not decidable, and what would decide."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from applications.nas.report.claims import Claim
from applications.nas.report.comparisons import RANDOM, Comparison, closest, compare
from applications.nas.report.inference import Difference
from applications.nas.report.power import POWER, deviation_bound, seeds_needed
from applications.nas.report.quoted import plain, same_data
from applications.nas.report.rows import Row
from applications.nas.report.table import Table

Outcome = Literal["supported", "refuted", "not decidable at this scale", "not run"]
ORDER = "order"
"""Setting of a claim that stands for the order of the tasks, however it came about."""
_ORDERED_BY = ("formulation.order", "data.roots", "data.classes")


@dataclass(frozen=True)
class Verdict:
    """A claim beside what was measured.

    Attributes:
        claim: The claim.
        outcome: What the measurements say.
        why: What limits them, in words; empty if nothing does.
        comparison: What it rests on; None if a row is missing.
        seeds: How many seeds would decide an open question; None if it is not open, or that is not known.
        days: What these seeds cost, in days of one device; None if it is not known.
        device: Of which kind.
    """

    claim: Claim
    outcome: Outcome
    why: str = ""
    comparison: Comparison | None = None
    seeds: int | None = None
    days: float | None = None
    device: str = ""


def judge(claims: Sequence[Claim], tables: Sequence[Table]) -> list[Verdict]:
    """Return the verdicts on claims, in their order: one for each pair of rows that fits, and one if none does."""
    found: list[Verdict] = []
    for claim in claims:
        fitting = [table for table in tables if same_data(claim.task, table.task)]
        mine = [_verdict(claim, one) for table in fitting for one in _comparisons(claim, table)]
        missing = "no row of both" if fitting else f"no task is {claim.task}"
        found += mine or [Verdict(claim, "not run", missing)]
    return found


def decide(claim: Claim, difference: Difference) -> tuple[Outcome, str]:
    """Return what an interval says about a claim, and what is to be known about it.

    Better: supported if all of it is above 0, refuted if all of it is below the smallest difference that matters. Same:
    supported if it lies between minus and plus that difference, refuted if 0 is outside. No larger: supported if all of
    it is above minus that difference, refuted if all of it is below 0. What is supported is not refuted, too.
    """
    low, high, matters = difference.low, difference.high, claim.matters
    if low is None or high is None:
        return "not decidable at this scale", difference.test
    supported = {"better": low > 0, "same": -matters < low and high < matters, "no larger": low > -matters}[claim.kind]
    refuted = {"better": high < matters, "same": low > 0 or high < 0, "no larger": high < 0}[claim.kind]
    if supported:
        small = refuted and claim.kind != "no larger"
        return "supported", f"a difference is shown, smaller than {matters:g}" if small else ""
    return ("refuted", "") if refuted else ("not decidable at this scale", "")


def needed(claim: Claim, difference: Difference) -> int | None:
    """Return how many seeds decide whether there is no difference or one that matters, in 8 of 10 repetitions.

    The standard deviation is taken at its upper bound of 80 % confidence. For a claim that rows are the same, both ends
    of the interval must hold, so each is given half of the failures.
    """
    if not difference.deviation or difference.freedom is None:
        return None
    bound = deviation_bound(difference.deviation, difference.freedom)
    return seeds_needed(bound, claim.matters, (1 + POWER) / 2 if claim.kind == "same" else POWER)


def _verdict(claim: Claim, comparison: Comparison) -> Verdict:
    if comparison.unequal:
        return Verdict(claim, "not run", f"the rows differ in {', '.join(comparison.unequal)}, too", comparison)
    outcome, why = decide(claim, comparison.difference)
    if outcome != "not decidable at this scale":
        return Verdict(claim, outcome, why, comparison)
    seeds = needed(claim, comparison.difference)
    if seeds is not None and seeds <= min(comparison.difference.counts):
        why = "there are seeds enough: the difference lies between none and one that matters"
    days, device = _cost(comparison.method, comparison.rival)
    total = None if seeds is None or days is None else seeds * days
    return Verdict(claim, outcome, why, comparison, seeds, total, device)


def _cost(*rows: Row) -> tuple[float | None, str]:
    """Return what one seed of all rows takes, searches and retrainings, in days of one device."""
    each = [[sample.days for sample in row.samples if sample.days is not None] for row in rows]
    device = "/".join(sorted({kind for row in rows for kind in row.device.split("/") if kind}))
    whole = all(len(days) == len(row.samples) for days, row in zip(each, rows, strict=True))
    return (sum(map(statistics.fmean, each)), device) if whole else (None, device)


def _comparisons(claim: Claim, table: Table) -> list[Comparison]:
    """Return the comparisons of a table that a claim is about; if other settings differ in all of them, one."""
    found = list(_pairs(claim, table))
    return [one for one in found if not one.unequal] or found[:1]


def _pairs(claim: Claim, table: Table) -> Iterator[Comparison]:
    about = [path for path in (*claim.settings, *claim.rival_settings) if path != ORDER]
    about += _ORDERED_BY if ORDER in (*claim.settings, *claim.rival_settings) else ()
    bases = dict.fromkeys(row.search.method for row in table.rows if row.search is not None)
    measure: Literal["error", "parameters"] = "parameters" if claim.kind == "no larger" else "error"
    for base in bases if "*" in claim.method else [""]:
        ours = [row for row in table.rows if _fits(row, claim.method.replace("*", base), claim.settings)]
        theirs = [row for row in table.rows if _fits(row, claim.rival.replace("*", base), claim.rival_settings)]
        for row in ours:
            for rival in closest(row, theirs, about):
                if measure == "parameters" and any(sample.parameters <= 0 for sample in rival.samples):
                    continue  # no network is so small: its file is damaged
                yield compare(table, row, rival, measure, about)


def _fits(row: Row, name: str, settings: Mapping[str, str]) -> bool:
    """Say whether a row is a method, at some settings."""
    if plain(row.base) != plain(name):
        return False
    held = dict(row.settings)
    if row.search is not None:
        held[ORDER] = ",".join(row.search.tasks)
    return row.base == RANDOM or all(path in held and _same(text, held[path]) for path, text in settings.items())


def _same(wanted: str, held: str) -> bool:
    """Say whether two settings are the same: numbers as such, names of data as those of a table."""
    ours, theirs = wanted.split(","), held.split(",")
    return len(ours) == len(theirs) and all(map(_equal, ours, theirs))


def _equal(wanted: str, held: str) -> bool:
    try:
        return float(wanted) == float(held)
    except ValueError:
        return same_data(wanted, held)
