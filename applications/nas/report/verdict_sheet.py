"""Verdicts as a sheet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from applications.nas.report.comparisons import Comparison
from applications.nas.report.sheet import Sheet
from applications.nas.report.verdicts import Verdict
from applications.nas.report.written import SEEDS, SIGN, amount, counts, interval, signed

_HEADER = ("claim", "what is claimed", "verdict", "difference", "95 % interval", "n", "quoted", "seeds", "days")
_ABOUT = (
    f"{SIGN} That a method is better is supported if the interval is above 0, and refuted if it is below the smallest "
    "difference that matters, which stands in the file of the claims; else it is not decidable.",
    "seeds: how many in all would tell no difference from one that matters, 8 times in 10, with the standard deviation "
    "at its upper bound of 80 % confidence. days: what so many searches and retrainings of both rows cost.",
    "quoted: the difference in the source, not measured here.",
    f"Each verdict stands alone: where there is no difference, about one of 40 is called better by chance. {SEEDS}",
)


def verdict_sheet(verdicts: Sequence[Verdict]) -> Sheet | None:
    """Return the verdicts on claims that were judged, and the names of the others; None if no claim was."""
    judged = [(verdict, verdict.comparison) for verdict in verdicts if verdict.comparison is not None]
    if not judged:
        return None
    notes = list(_ABOUT)
    several = [name for name, count in Counter(verdict.claim.id for verdict, _ in judged).items() if count > 1]
    if several:
        notes.append(
            f"Several pairs of rows fit {', '.join(several)}, and each is judged; to choose one before looking, give "
            "settings in a file of claims."
        )
    missing = [verdict.claim.id for verdict in verdicts if verdict.comparison is None]
    if missing:
        notes.append(f"Not run, as rows are missing: {', '.join(missing)}.")
    return Sheet("Claims", _HEADER, 3, tuple(_row(verdict, one) for verdict, one in judged), tuple(notes))


def _row(verdict: Verdict, one: Comparison) -> tuple[str, ...]:
    claim, unit = verdict.claim, " %" if one.measure == "parameters" else ""
    return (
        claim.id,
        f"{claim.sentence} {one.task}: {one.method.method} against {one.rival.method}",
        f"{verdict.outcome}{f' ({verdict.why})' if verdict.why else ''}",
        f"{signed(one.difference.mean)}{unit}",
        interval(one.difference),
        counts(one.difference),
        "" if claim.quoted is None else f"{signed(claim.quoted)}{unit}",
        "" if verdict.seeds is None else str(verdict.seeds),
        "" if verdict.days is None else f"{amount(verdict.days)} {verdict.device}".strip(),
    )
