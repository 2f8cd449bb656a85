"""What the studies come to, in sentences whose numbers are those of their reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from benchmarks.evidence.rows import BASES, NONE, SIZED, TASKS, asked, difference, named_before, outcome, plain
from benchmarks.evidence.study import Kept, Row

_ASKED = {
    "evidence-table": "Interleaving against search on one task and multi-task search",
    "evidence-lambda": "The strength lambda (20 against 0 is the comparison with multi-task search again)",
    "evidence-rounds": "The number of rounds",
    "evidence-order": "The order of the tasks",
    "evidence-start": "Stage weights that persist, or are handed over",
    "evidence-rule": "The rule of the architecture's gradient",
}
_SEEDS = 5
_LUCKY = 0.025
"""How often an interval of 95 % lies above 0 where nothing differs."""
_ENOUGH = 3
"""Methods that must agree, of four."""


def short(studies: Sequence[Kept]) -> str:
    """Return the verdict on the claim as a whole, and the verdicts of each study, counted."""
    lines = []
    for one in studies:
        if one.name == "evidence-table":
            lines += [*(f"- {overall(one, task)}" for task in TASKS), f"- {against_chance(one)}"]
        lines.append(_study(one))
    return "\n".join(lines) or NONE


def overall(table: Kept, task: str) -> str:
    """Return the verdict on the claim as a whole on a task, by the rule of the protocol."""
    verdicts = {base: _verdicts(table, task, base) for base in BASES}
    better = [base for base, found in verdicts.items() if found == ["supported", "supported"]]
    sized = [base for base in better if _beyond_size(table, task, f"IL-{base}")]
    against = [base for base, found in verdicts.items() if "refuted" in found]
    word = "not decidable at this scale"
    if len(sized) >= _ENOUGH:
        word = "supported"
    elif len(against) >= _ENOUGH:
        word = "refuted"
    return (
        f"**The claim as a whole, {task}: {word}.** Interleaving is shown to be better than both rivals with "
        f"{_some(better)}, and then better than random cells of its size with {_some(sized)}; a gain of a point over "
        f"one of the rivals is ruled out with {_some(against)}."
    )


def against_chance(table: Kept) -> str:
    """Count the methods that are told apart from random cells of their size."""
    rows = [row for row in table.comparisons if row["rival"] == SIZED and "(" not in row["method"]]
    closed = [row for row in rows if row["low"]]
    better = sum(float(row["low"]) > 0 for row in closed)
    worse = sum(float(row["high"]) < 0 for row in closed)
    return (
        f"**Against random cells of the same size**: of {len(rows)} comparisons (12 methods, each task), {better} show "
        f"the found cells to be better, {worse} to be worse."
    )


def _verdicts(table: Kept, task: str, base: str) -> list[str]:
    """Return the verdicts of a method against search on one task and multi-task search."""
    rivals = (base, f"MTL-{base}")
    mine = [row for row in asked(table) if row["task"] == task and row["method"] == f"IL-{base}"]
    return [row["verdict"] for row in mine if row["rival"] in rivals and row["kind"] == "better"]


def _beyond_size(table: Kept, task: str, method: str) -> bool:
    rows = [row for row in table.comparisons if row["task"] == task and row["method"] == method]
    return any(row["rival"] == SIZED and row["low"] and float(row["low"]) > 0 for row in rows)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) or "none of the four methods"


def _study(one: Kept) -> str:
    rows = [row for row in asked(one) if named_before(row)]
    counts = Counter(row["verdict"] for row in rows)
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) or "no claim could be judged"
    closed = [f"{_named(row)} {difference(row)}" for row in rows if row["verdict"] in ("supported", "refuted")]
    seeds = f"{len(one.seeds)} seed{'' if len(one.seeds) == 1 else 's'}"
    if len(one.seeds) < _SEEDS:
        seeds += f" of the {_SEEDS} that the protocol asks for"
    more = f" Decided: {'; '.join(closed)}." if closed else ""
    return f"- **{_ASKED[one.name]}** ({seeds}): {told}.{more}{_doubt(one, rows)}"


def _doubt(one: Kept, rows: Sequence[Row]) -> str:
    """Say what speaks against claims that came out as supported."""
    better = [row for row in rows if row["kind"] == "better"]
    won = [row for row in better if row["verdict"] == "supported"]
    if not won:
        return ""
    told = (
        f" Of {len(better)} comparisons in which nothing differs, {len(better) * _LUCKY:.1f} come out as supported on "
        "average: a single one is no finding."
    )
    for row in won:
        beside = [
            other
            for other in one.comparisons
            if (other["task"], other["method"], other["rival"]) == (row["task"], row["rival"], "random")
            and other["measure"] == "error"
        ]
        rival = plain(row["rival"])
        told += "".join(f" {rival} itself against random cells there: {difference(two)}." for two in beside)
    return told


def _named(row: Row) -> str:
    return f"{row['task']}, {plain(row['method'])} against {plain(row['rival'])} ({outcome(row)}):"
