"""Comparisons and verdicts as CSV, with every digit."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from applications.nas.report.evidence import Evidence
from applications.nas.report.inference import Difference
from applications.nas.report.verdicts import Verdict

_NUMBERS = ("test", "n_method", "n_rival", "difference", "sd", "low", "high", "effect", "hedges", "freedom")
COMPARISONS = ("task", "metric", "measure", "method", "rival", *_NUMBERS, "unequal", "expected", "by_line", "gap")
VERDICTS = (
    *("id", "sentence", "kind", "claimed_task", "task", "method", "rival", "verdict", "why", *_NUMBERS, "matters"),
    *("quoted", "seeds", "days", "device", "source"),
)


def comparisons_csv(evidence: Evidence) -> str:
    """Return comparisons and size-matched ones; a field that is not known is empty."""
    rows: list[dict[str, Any]] = [
        {"task": one.task, "metric": one.metric, "measure": one.measure}
        | {"method": one.method.method, "rival": one.rival.method, "unequal": " ".join(one.unequal)}
        | _numbers(one.difference)
        for one in evidence.comparisons
    ]
    rows += [
        {"task": one.task, "metric": one.metric, "measure": "error", "method": one.method.method}
        | {"rival": f"{one.rival.method}, of its size", "expected": one.expected, "by_line": one.by_line}
        | {"gap": one.gap}
        | _numbers(one.difference)
        for one in evidence.matched
    ]
    return _csv(COMPARISONS, rows)


def verdicts_csv(evidence: Evidence) -> str:
    """Return all verdicts, also of claims whose rows are missing."""
    return _csv(VERDICTS, (_verdict(verdict) for verdict in evidence.verdicts))


def _verdict(verdict: Verdict) -> dict[str, Any]:
    claim, one = verdict.claim, verdict.comparison
    found: dict[str, Any] = {
        "id": claim.id,
        "sentence": claim.sentence,
        "kind": claim.kind,
        "claimed_task": claim.task,
        "method": claim.method,
        "rival": claim.rival,
        "verdict": verdict.outcome,
        "why": verdict.why,
        "matters": claim.matters,
        "quoted": claim.quoted,
        "seeds": verdict.seeds,
        "days": verdict.days,
        "device": verdict.device,
        "source": claim.source,
    }
    if one is not None:
        found |= {"task": one.task, "method": one.method.method, "rival": one.rival.method} | _numbers(one.difference)
    return found


def _numbers(difference: Difference) -> dict[str, Any]:
    return {
        "test": difference.test,
        "n_method": difference.counts[0],
        "n_rival": difference.counts[1],
        "difference": difference.mean,
        "sd": difference.deviation,
        "low": difference.low,
        "high": difference.high,
        "effect": difference.effect,
        "hedges": difference.hedges,
        "freedom": difference.freedom,
    }


def _csv(columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
