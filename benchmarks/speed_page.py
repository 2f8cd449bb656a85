"""Put what the benchmarks of speed stored into docs/speed.md, between its marks.

    python benchmarks/speed_page.py

Every figure of these tables comes from benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.generated import filled, marks
from benchmarks.peers_speed import is_wrong
from benchmarks.rounds import RESULTS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "speed.md"

Cases = Mapping[str, Any]


def stored(name: str) -> dict[str, Any]:
    """Return the cases that a benchmark stored."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def ran(cases: Cases) -> str:
    """Return when and where the cases were measured."""
    machines = [case["machine"] for case in cases.values()]
    dates = sorted({one["date"] for one in machines})
    loads = sorted(one["load"] for one in machines)
    days = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    one = machines[0]
    where = f"{one['device']}, {one['cores']} cores, {one['threads']} thread{'s' * (one['threads'] > 1)}"
    return f"Run on {days}, torch {one['torch']}, {where}, load {loads[0]:g} to {loads[-1]:g}."


def spread(found: Mapping[str, float] | None) -> str:
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})" if found else ""


def row_of(cells: list[str]) -> str:
    """Return a line of a table; an empty cell is one space wide."""
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def floor(cases: Cases) -> str:
    """Return the table of ours against the hand-written minima."""
    head = "| | operations | by hand, least | ratio | of one for each tensor | products | looks | peak | time |"
    lines = [head, "|---|---|---|---|---|---|---|---|---|"]
    for name, case in cases.items():
        ours, least, each = (case["counts"][key] for key in ("ours", case["floor"], "each"))
        same = "the same" if ours["products"] == least["products"] else f"by hand {least['products']}"
        cells = [
            name,
            f"{ours['operations']:,}",
            f"{least['operations']:,}",
            f"{ours['operations'] / least['operations']:.3f}",
            f"{ours['operations'] / each['operations']:.2f}",
            f"{ours['products']:,}, {same}",
            str(ours["syncs"]),
            f"{ours['peak'] / least['peak']:.2f}",
            spread(case.get("time over flat")),
        ]
        lines.append(row_of(cells))
    return "\n".join([ran(cases), "", *lines])


def views(cases: Cases) -> str:
    """Return the table of ways to read and to move many small tensors."""
    lines = ["| | | operations | with views | times the first |", "|---|---|---|---|---|"]
    for name, case in cases.items():
        times = {pair.split(" / ")[0]: ratio for pair, ratio in case["times"].items()}
        for who, found in case["counts"].items():
            way = who.removeprefix("rival: ")
            figures = [f"{found[key]:,}" for key in ("operations", "with_views")]
            lines.append(row_of([name, way, *figures, spread(times.get(way))]))
    return "\n".join([ran(cases), "", *lines])


def peers(cases: Cases) -> str:
    """Return the table of other libraries, a wrong answer marked as such."""
    head = "| library | rule | theirs | time | operations | products | looks | peak | error | solver x 10 | |"
    lines = [head, "|---|---|---|---|---|---|---|---|---|---|---|"]
    libraries = {name: case for name, case in cases.items() if name != "mlo"}
    for name, case in libraries.items():
        for row in case["rows"]:
            theirs, ours = row["counts"]["theirs"], row["counts"]["ours"]
            longer = f"{row['solved']:.0e}" if row["solved"] != row["error"] else ""
            over = [f"{theirs[key] / ours[key]:.2f}" for key in ("operations", "products")]
            rest = [str(theirs["syncs"]), f"{theirs['peak'] / ours['peak']:.2f}", f"{row['error']:.0e}", longer]
            mark = "**wrong**" if is_wrong(row) else ""
            cells = [f"{name} {case['version']}", row["rule"], f"`{row['label']}`", spread(row["time over ours"])]
            lines.append(
                f"| {' | '.join([*cells, *over, *rest, mark])} |".replace("|  |", "| |").replace("|  |", "| |")
            )
    errors = ", ".join(f"{rule} {error:.0e}" for rule, error in cases["mlo"]["errors"].items())
    return "\n".join([ran(libraries), "", *lines, "", f"Errors of `mlo` on the same: {errors}."])


def supernet(cases: Cases) -> str:
    """Return the table of the batched supernet against the plain one."""
    head = "| supernet | gradients in | operations, plain | batched | products | peak | times faster |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for name, case in cases.items():
        for what, found in case["counts"].items():
            plain, batched = found["plain"], found["batched"]
            over = [f"{batched[key] / plain[key]:.2f}" for key in ("products", "peak")]
            figures = [f"{plain['operations']:,}", f"{batched['operations']:,}", *over]
            lines.append(row_of([f"{name}: {case['size']}", what, *figures, spread(case["times"].get(what))]))
    return "\n".join([ran(cases), "", *lines])


def faster(cases: Cases) -> str:
    """Return the table of whole iterations against the original order of computation."""
    lines = [
        "| case | | passes | operations | products | looks | peak, MB | times faster |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, case in cases.items():
        for form, found in case["counts"].items():
            figures = [f"{found[key]:,}" for key in ("passes", "operations", "products", "syncs")]
            cells = [name, form, *figures, f"{found['peak'] / 1e6:,.0f}", spread(case["times faster"].get(form))]
            lines.append(row_of(cells))
    return "\n".join([ran(cases), "", *lines])


def share(cases: Cases) -> str:
    """Return the table of what the input pipeline takes of a step."""
    lines = ["| case | | operations | share of a step, % |", "|---|---|---|---|"]
    for name, case in cases.items():
        for form, found in case["percent of a step"].items():
            lines.append(row_of([name, form, str(case["counts"][form]["operations"]), f"{found['median']:.2g}"]))
    return "\n".join([ran(cases), "", *lines])


def free(cases: Cases) -> str:
    """Return the table of settings that cost nothing."""
    lines = ["| setting |" + "|".join(f" {name} " for name in cases) + "|", "|---" * (len(cases) + 1) + "|"]
    ways = {"processes, perf_counter": "one thread", "inside, process_time": "as it is"}
    first = next(iter(cases.values()))
    for way, base in ways.items():
        for setting in first[way]["times faster"]:
            if setting != base:
                lines.append(
                    row_of([setting, *(spread(case[way]["times faster"][setting]) for case in cases.values())])
                )
    kept = [case["processes, perf_counter"]["page faults"] for case in cases.values()]
    faults = [f"{one['one thread']:,} to {one['one thread, memory kept']:,}" for one in kept]
    lines.append(row_of(["page faults, where memory is kept", *faults]))
    copies = [case["inside, process_time"]["percent for copying buffers"]["median"] for case in cases.values()]
    lines.append(row_of(["copies of buffers, % of a gradient", *(f"{share:.2g}" for share in copies)]))
    return "\n".join([ran(cases), "", *lines])


PARTS: dict[str, tuple[str, Callable[[Cases], str]]] = {
    "floor": ("floor", floor),
    "views": ("views", views),
    "peers": ("peers_speed", peers),
    "supernet": ("supernet", supernet),
    "step": ("whole_step", faster),
    "input": ("input_pipeline", share),
    "free": ("free_gains", free),
}
"""By the name of a mark: the benchmark, and its table."""


def generated(page: str) -> str:
    """Return a page with all the parts that it has marks for."""
    for part, (name, table) in PARTS.items():
        if marks(part)[0] in page:
            page = filled(page, part, table(stored(name)))
    return page


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
