"""What the studies come to, in sentences whose numbers are those of their reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.evidence.parts import NONE, asked, difference
from benchmarks.evidence.study import Kept, Row

_ASKED = {
    "evidence-table": "Interleaving against search on one task and multi-task search",
    "evidence-lambda": "The strength lambda",
    "evidence-rounds": "The number of rounds",
    "evidence-order": "The order of the tasks",
    "evidence-start": "Stage weights that persist, or are handed over",
    "evidence-rule": "The rule of the architecture's gradient",
}


def short(studies: Sequence[Kept]) -> str:
    """Return the verdicts, counted, with those that are not open."""
    return "\n".join(_study(one) for one in studies) or NONE


def _study(one: Kept) -> str:
    rows = [row for row in asked(one) if row["kind"] != "no larger"]
    counts = Counter(row["verdict"] for row in rows)
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) or "no claim could be judged"
    closed = [f"{_named(row)} {difference(row)}" for row in rows if row["verdict"] in ("supported", "refuted")]
    seeds = len(one.seeds)
    more = f" Not open: {'; '.join(closed)}." if closed else ""
    return f"- **{_ASKED[one.name]}** ({seeds} seed{'' if seeds == 1 else 's'}): {told}.{more}"


def _named(row: Row) -> str:
    return f"{row['task']}, {row['method']} against {row['rival']} ({row['verdict']}):"
