"""Parts of the page of results, each made of what the studies' reports say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from applications.nas.report.markup import md_table
from applications.nas.sweep.alike import HEAD
from benchmarks.evidence.chance import baselines, chance, levels
from benchmarks.evidence.rows import (
    BASES,
    NONE,
    SIZED,
    TASKS,
    asked,
    compared,
    difference,
    named_before,
    outcome,
    plain,
    study_called,
)
from benchmarks.evidence.study import Kept, Row


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
    table = study_called(studies, "evidence-table")
    if table is None:
        return NONE
    head = ["task", "method", "single task", "multi-task", "random", "random of its size", "size, single task (%)"]
    lines = []
    for task in TASKS:
        for base in BASES:
            own = [row for row in table.comparisons if row["task"] == task and row["method"] == f"IL-{base}"]
            cells = [
                compared(own, base, "error"),
                compared(own, f"MTL-{base}", "error"),
                compared(own, "random", "error"),
                compared(own, SIZED, "error"),
                compared(own, base, "parameters"),
            ]
            lines.append([task, f"IL-{base}", *cells])
    return md_table(head, lines)


def claims(name: str) -> Callable[[Sequence[Kept]], str]:
    """Return what writes the verdicts of a study."""

    def write(studies: Sequence[Kept]) -> str:
        rows = [row for one in studies if one.name == name for row in asked(one)]
        if not rows:
            return NONE
        head = ["claim", "rows", "verdict", "difference", "n", "quoted", "seeds to tell 0 from 1 point", "core-days"]
        return md_table(head, [_verdict(row) for row in rows])

    return write


def figures(name: str) -> Callable[[Sequence[Kept]], str]:
    """Return what shows the figures of a study."""

    def write(studies: Sequence[Kept]) -> str:
        study = study_called(studies, name)
        shown = [] if study is None else [f"![{caption}](results/{name}/{file})" for file, caption in study.figures]
        return "\n\n".join(shown) or NONE

    return write


def alike(studies: Sequence[Kept]) -> str:
    """Tell how many edges the cells share that rules find."""
    rule = study_called(studies, "evidence-rule")
    if rule is None:
        return NONE
    return md_table(HEAD, rule.alike)


PARTS: dict[str, Callable[[Sequence[Kept]], str]] = {
    "runs": runs,
    "levels": levels,
    "interleaving": interleaving,
    "table claims": claims("evidence-table"),
    "chance": chance,
    "lambda figures": figures("evidence-lambda"),
    "lambda claims": claims("evidence-lambda"),
    "lambda chance": baselines("evidence-lambda"),
    "rounds figures": figures("evidence-rounds"),
    "rounds claims": claims("evidence-rounds"),
    "rounds chance": baselines("evidence-rounds"),
    "order claims": claims("evidence-order"),
    "order chance": baselines("evidence-order"),
    "start claims": claims("evidence-start"),
    "start chance": baselines("evidence-start"),
    "rule claims": claims("evidence-rule"),
    "rule chance": baselines("evidence-rule"),
    "alike": alike,
}


def _verdict(row: Row) -> list[str]:
    unit = " %" if row["kind"] == "no larger" else ""
    quoted = f"{float(row['quoted']):+.2f}{unit}" if row["quoted"] else ""
    verdict = outcome(row) + (f" ({row['why']})" if row["why"] else "")
    sentence = row["sentence"] + ("" if named_before(row) else " †")
    days = f"{float(row['days']):.2g}" if row["days"] else ""
    cells = [sentence, f"{row['task']}: {plain(row['method'])} against {plain(row['rival'])}", verdict]
    return [*cells, f"{difference(row)}{unit}", row["n_method"], quoted, row["seeds"], days]
