"""Parts of the page of results, each made of what the studies' reports say."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from applications.nas.report.markup import md_table
from applications.nas.sweep.alike import HEAD
from benchmarks.evidence.study import Kept, Row
from mlo import DataError

NONE = "Not run yet."
BASES = ("DARTS-1st", "DARTS-2nd", "P-DARTS", "PC-DARTS")
TASKS = ("cifar100-mini", "cifar10-mini")
SIZED = "random, of its size"
"""The rival that reports compare each row with beside all random cells."""
OFF_LINE = "‡"
"""Marks a comparison in which a cell is smaller or larger than all random ones, or these are too few for a line."""
_ABOUT = {
    "evidence-table": r"-(darts1st|darts2nd|pdarts|pcdarts)-",
    "evidence-lambda": r"-(lambda|held)",
    "evidence-rounds": r"-rounds",
    "evidence-order": r"-order",
    "evidence-start": r"-start",
    "evidence-rule": r"-rule-",
}
"""What fits the names of the claims that a study is about."""


def runs(studies: Sequence[Kept]) -> str:
    """Tell what was run."""
    if not studies:
        return NONE
    lines = [
        "| study | scale | seeds | searches | random cells | core-hours | code |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in studies:
        left = sorted(set(one.planned) - set(one.seeds))
        seeds = ", ".join(map(str, one.seeds)) or "none is whole"
        seeds += f" (begun, or to come: {', '.join(map(str, left))})" if left else ""
        taken = f" ({one.taken} of them from another study)" if one.taken else ""
        code = ", ".join(f"`{commit}`" for commit in one.commits)
        name = f"[{one.name}](results/{one.name}/report.md)"
        lines.append(
            f"| {name} | {one.scale} | {seeds} | {one.searches}{taken} | {one.random} | {one.hours:.1f} | {code} |"
        )
    days = sorted({day for one in studies for day in one.days})
    torch = ", ".join(sorted({version for one in studies for version in one.torch}))
    between = days[0] if len(days) == 1 else f"from {days[0]} to {days[-1]}"
    return "\n".join([*lines, "", f"Run {between} with torch {torch}."])


def interleaving(studies: Sequence[Kept]) -> str:
    """Compare interleaving with its rivals, method by method."""
    table = _named(studies, "evidence-table")
    if table is None:
        return NONE
    head = ["task", "method", "single task", "multi-task", "random", "random of its size", "size, single task (%)"]
    lines = []
    for task in TASKS:
        for base in BASES:
            own = [row for row in table.comparisons if row["task"] == task and row["method"] == f"IL-{base}"]
            cells = [
                _found(own, base, "error"),
                _found(own, f"MTL-{base}", "error"),
                _found(own, "random", "error"),
                _found(own, SIZED, "error"),
                _found(own, base, "parameters"),
            ]
            lines.append([task, f"IL-{base}", *cells])
    return md_table(head, lines)


def chance(studies: Sequence[Kept]) -> str:
    """Compare every method with random cells."""
    table = _named(studies, "evidence-table")
    if table is None:
        return NONE
    head = ["method", *(f"{task}{kind}" for task in TASKS for kind in (": random", ": random of its size"))]
    lines = []
    for base in BASES:
        for method in (base, f"MTL-{base}", f"IL-{base}"):
            cells = []
            for task in TASKS:
                own = [row for row in table.comparisons if row["task"] == task and row["method"] == method]
                cells += [_found(own, "random", "error"), _found(own, SIZED, "error")]
            lines.append([method, *cells])
    return md_table(head, lines)


def claims(name: str) -> Callable[[Sequence[Kept]], str]:
    """Return what writes the verdicts of a study."""

    def write(studies: Sequence[Kept]) -> str:
        rows = [row for one in studies if one.name == name for row in asked(one)]
        if not rows:
            return NONE
        head = ["claim", "rows", "verdict", "difference", "n", "quoted", "seeds that would decide", "core-days"]
        return md_table(head, [_verdict(row) for row in rows])

    return write


def figures(name: str) -> Callable[[Sequence[Kept]], str]:
    """Return what shows the figures of a study."""

    def write(studies: Sequence[Kept]) -> str:
        study = _named(studies, name)
        shown = [] if study is None else [f"![{caption}](results/{name}/{file})" for file, caption in study.figures]
        return "\n\n".join(shown) or NONE

    return write


def alike(studies: Sequence[Kept]) -> str:
    """Tell how many edges the cells share that rules find."""
    rule = _named(studies, "evidence-rule")
    if rule is None:
        return NONE
    return md_table(HEAD, rule.alike)


PARTS: dict[str, Callable[[Sequence[Kept]], str]] = {
    "runs": runs,
    "interleaving": interleaving,
    "table claims": claims("evidence-table"),
    "chance": chance,
    "lambda figures": figures("evidence-lambda"),
    "lambda claims": claims("evidence-lambda"),
    "rounds figures": figures("evidence-rounds"),
    "rounds claims": claims("evidence-rounds"),
    "order claims": claims("evidence-order"),
    "start claims": claims("evidence-start"),
    "rule claims": claims("evidence-rule"),
    "alike": alike,
}


def asked(study: Kept) -> list[Row]:
    """Return the verdicts on the claims that a study is about; its rows may fit those of others, too."""
    return [row for row in study.verdicts if re.search(_ABOUT[study.name], row["id"])]


def _named(studies: Sequence[Kept], name: str) -> Kept | None:
    return next((one for one in studies if one.name == name), None)


def _verdict(row: Row) -> list[str]:
    unit = " %" if row["kind"] == "no larger" else ""
    quoted = f"{float(row['quoted']):+.2f}{unit}" if row["quoted"] else ""
    verdict = row["verdict"] + (f" ({row['why']})" if row["why"] else "")
    days = f"{float(row['days']):.2g}" if row["days"] else ""
    cells = [row["sentence"], f"{row['task']}: {row['method']} against {row['rival']}", verdict]
    return [*cells, f"{difference(row)}{unit}", row["n_method"], quoted, row["seeds"], days]


def _found(rows: Sequence[Row], rival: str, measure: str) -> str:
    fits = [row for row in rows if row["rival"] == rival and row["measure"] == measure]
    if len(fits) != 1:
        raise DataError(f"{len(fits)} comparisons with {rival} in {measure}, where one should be: look at the report")
    text = difference(fits[0])
    return text if fits[0]["by_line"] in ("", fits[0]["n_method"]) else f"{text} {OFF_LINE}"


def difference(row: Row) -> str:
    """Write a difference with its interval; bold where the interval does not hold 0."""
    mean = f"{float(row['difference']):+.2f}"
    if not row["low"]:
        return mean
    low, high = float(row["low"]), float(row["high"])
    text = f"{mean} [{low:.2f}, {high:.2f}]"
    return f"**{text}**" if low > 0 or high < 0 else text
