"""Tables of the study of hypergradients, from its rows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.quality.implicit import OPEN
from benchmarks.quality.judge import MOVES, STEPS, TRIED
from benchmarks.quality.rules import LENGTHS

Row = Mapping[str, Any]
Rows = Sequence[Row]
AS_IS = "ReLU, max pools"
PREDICTING = (
    *("exact", "first"),
    *(f"central {length:g}" for length in LENGTHS[:-2]),
    *(f"one-sided {length:g}" for length in (0.1, 0.01)),
    *(f"mean {lengths}" for lengths in ("1, 0.3, 0.1", "0.3, 0.1, 0.03", "0.1, 0.03, 0.01")),
    *(f"shaken {length:g}" for length in (0.1, 0.01)),
)
"""Rules whose predictions are shown."""
LEFT_OUT = {f"one-sided {length:g}" for length in LENGTHS if length not in (1.0, 0.1, 0.01, 1e-3)}
"""Rules that the table of errors does not show; their rows are stored."""
COST = {"central": 2, "one-sided": 2, "mean": 6, "shaken": 8}
"""Gradients in the architecture that a rule takes for its product; a one-sided one needs that at w as well."""


def net(row: Row) -> str:
    """Return the name of a supernet."""
    return f"{row['method']}, C = {row['channels']}, L = {row['layers']}"


def spread(values: Iterable[float], digits: str = ".2g") -> str:
    """Return median, lowest and highest, as one cell."""
    found = sorted(values)
    if not found:
        return ""
    if len(found) == 1:
        return _plain(found[0], digits)
    middle, low, high = (_plain(value, digits) for value in (statistics.median(found), found[0], found[-1]))
    return f"{middle} ({low} to {high})"


def _plain(value: float, digits: str) -> str:
    """Return a number without an exponent where it is of everyday size."""
    text = f"{value:{digits}}"
    return f"{float(text):g}" if 1e-3 <= abs(value) < 1e4 else text


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    shown = ["|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|" for cells in (head, *lines)]
    return "\n".join([shown[0], "|---" * len(head) + "|", *shown[1:]])


def natural(rows: Rows) -> list[Row]:
    """Return the points of networks as they are, one step ahead."""
    return [row for row in rows if row["shape"] == AS_IS and "judge" in row]


def by(rows: Rows, key: Callable[[Row], str]) -> dict[str, list[Row]]:
    """Return the rows by what `key` says of them, in the order of their first."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def measured(rows: Rows) -> str:
    """Return what was measured, and on what."""
    machine = rows[0]["machine"]
    dates = sorted({row["machine"]["date"] for row in rows})
    commits = ", ".join(sorted({f"`{row['commit']}`" for row in rows}))
    lines = [
        [name, shape, str(len(some)), _list(row["seed"] for row in some), _list(row["steps"] for row in some)]
        for name, group in by(rows, net).items()
        for shape, some in by(group, lambda row: str(row["shape"])).items()
    ]
    data = ", ".join(sorted({row["data"] for row in rows}))
    about = (
        f"Points: {len(rows)}, on {data}, batches of {rows[0]['batch']}; {', '.join(dates)}, torch "
        f"{machine['torch']}, {machine['device']}, commit {commits}."
    )
    return about + "\n\n" + table(["supernet", "kinks", "points", "seeds", "after steps"], lines)


def _list(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in sorted(set(values)))


def errors(rows: Rows) -> str:
    """Return the relative error of each rule to the exact hypergradient, in float64, by supernet."""
    return _against_exact(rows, [name for name in natural(rows)[0]["float64"] if name not in LEFT_OUT], 1, ".2g")


def cosines(rows: Rows) -> str:
    """Return the cosine of each rule with the exact hypergradient, in float64, by supernet."""
    return _against_exact(rows, ["first", *(f"central {length:g}" for length in LENGTHS)], 0, ".4f")


def _against_exact(rows: Rows, names: Sequence[str], index: int, digits: str) -> str:
    nets = by(natural(rows), net)
    lines = [
        [name, *(spread((row["float64"][name][index] for row in some), digits) for some in nets.values())]
        for name in names
    ]
    return table(["rule", *nets], lines)


def training(rows: Rows) -> str:
    """Return errors by the number of steps, for the supernet of most points."""
    some = max(by(natural(rows), net).values(), key=len)
    steps = by(sorted(some, key=lambda row: int(row["steps"])), lambda row: f"{row['steps']} steps")
    names = ("first", "central 1", "central 0.1", "central 0.01", "central 0.001")
    lines = [[name, *(spread(row["float64"][name][1] for row in group) for group in steps.values())] for name in names]
    share = [spread(_second(row) for row in group) for group in steps.values()]
    return table([net(some[0]), *steps], [*lines, ["second-order part of the whole", *share]])


def _second(row: Row) -> float:
    return float(row["sizes"]["second-order part"] / row["sizes"]["hypergradient"])


def larger(rows: Rows) -> str:
    """Return errors of a wider and of a deeper supernet beside those of the smallest, point by point."""
    groups = by([row for row in natural(rows) if row["method"] == "DARTS"], net)
    found = {name: {(row["seed"], row["steps"]): row for row in some} for name, some in groups.items()}
    base, *others = found.values()
    lines = []
    for seed, steps in sorted(point for point in base if any(point in one for one in others)):
        there = [one.get((seed, steps)) for one in found.values()]
        for name in ("first", "central 0.1", "central 0.01"):
            cells = ["" if row is None else spread([row["float64"][name][1]]) for row in there]
            lines.append([f"seed {seed}, {steps} steps", name, *cells])
    return table(["point", "rule", *found], lines)


def precisions(rows: Rows) -> str:
    """Return errors in float32 over those in float64."""
    lines = []
    for length in LENGTHS:
        name = f"central {length:g}"
        both = [[row[kind][name][1] for row in natural(rows)] for kind in ("float64", "float32")]
        lines.append([name, *(spread(values) for values in both)])
    exact = spread(row["float32"]["exact"][1] for row in natural(rows))
    return table(["rule", "float64", "float32"], [["exact", "0", exact], *lines])


def shapes(rows: Rows) -> str:
    """Return the error of central differences with and without kinks, and of how many points, for one supernet."""
    chosen = [row for row in rows if net(row) == net(rows[0])]
    steps = {row["steps"] for row in chosen if row["shape"] != AS_IS} or {row["steps"] for row in chosen}
    kinds = by([row for row in chosen if row["steps"] in steps], lambda row: str(row["shape"]))
    lines = []
    for length in LENGTHS:
        cells = [spread(row["float64"][f"central {length:g}"][1] for row in some) for some in kinds.values()]
        lines.append([f"{length:g}", *cells])
    return table(["perturbation", *(f"{shape} ({len(some)})" for shape, some in kinds.items())], lines)


def crossings(rows: Rows) -> str:
    """Return how many kinks a central difference jumps over, by its length, for the supernet of most points."""
    some = max(by(natural(rows), net).values(), key=len)
    lines = []
    for length in LENGTHS:
        found = [row["kinks"][f"{length:g}"] for row in some]
        counts = [spread((one[kind] for one in found), ".2g") for kind in ("relu", "pool")]
        share = spread(100 * (one["relu"] + one["pool"]) / (one["relus"] + one["pools"]) for one in found)
        lines.append([f"{length:g}", *counts, share])
    return table(["perturbation", "ReLUs", "winners of max pools", "% of both"], lines)


def predictions(rows: Rows) -> str:
    """Return the errors with which rules predict the actual change of the looked-ahead loss."""
    some = natural(rows)
    moves = [f"{length:g}" for length in MOVES]
    lines = [[name, *(spread(told(row, move, name) for row in some) for move in moves)] for name in PREDICTING]
    return table(["rule", *(f"moves of {move}" for move in moves)], lines)


def told(row: Row, move: str, name: str) -> float:
    """Return the error of what a rule predicts."""
    return float(row["judge"][move]["rules"][name]["error"])


def matched(rows: Rows) -> str:
    """Return which length of central differences predicts best, by the length of the moves."""
    some, lines = natural(rows), []
    for move in (f"{length:g}" for length in MOVES):
        best = [min(LENGTHS, key=lambda length: told(row, move, f"central {length:g}")) for row in some]
        errors = [told(row, move, f"central {length:g}") for row, length in zip(some, best, strict=True)]
        exact = spread(told(row, move, "exact") for row in some)
        won = sum(error < told(row, move, "exact") for row, error in zip(some, errors, strict=True))
        lines.append([move, spread(best, ".1g"), spread(errors), exact, f"{won} of {len(some)}"])
    return table(["moves of", "best length", "its error", "error of exact", "better than exact"], lines)


def gains(rows: Rows) -> str:
    """Return how much further each rule's own step lowers the looked-ahead loss than the exact rule's step."""
    some = natural(rows)
    columns = [(f"{step:g}", where) for step in STEPS for where in ("own", "elsewhere")]
    means = {column: statistics.mean(change(row, "exact", *column) for row in some) for column in columns}
    lines = [["exact", *(f"{mean:.3g}" for mean in means.values())]]
    for name in TRIED[1:]:
        cells = []
        for column, mean in means.items():
            gaps = [100 * (change(row, "exact", *column) - change(row, name, *column)) / abs(mean) for row in some]
            off = f" ± {statistics.stdev(gaps):.1f}" if len(gaps) > 1 else ""
            cells.append(f"{statistics.mean(gaps):+.1f}{off} ({sum(gap > 0 for gap in gaps)} of {len(gaps)})")
        lines.append([name, *cells])
    names = {"own": "same batches", "elsewhere": "others"}
    return table(["rule", *(f"steps of {step}, {names[where]}" for step, where in columns)], lines)


def change(row: Row, name: str, step: str, where: str) -> float:
    """Return how the looked-ahead loss changes by a rule's own step."""
    return float(row["judge"][step]["own"][name][where])


def implicit(rows: Rows) -> str:
    """Return the cosines and errors of Neumann sums and of CG to the implicit hypergradient, by the steps before."""
    some = sorted((row for row in rows if "implicit" in row), key=lambda row: int(row["steps"]))
    if not some:
        return "Not measured yet."
    groups = by(some, lambda row: f"{row['steps']} steps").values()
    lines = []
    for damping, estimates in sorted(some[0]["implicit"].items(), key=lambda item: item[0] == OPEN):
        for name, value in estimates.items():
            if isinstance(value, list):
                about = ["none", f"{name} terms against one step"] if damping == OPEN else [damping, name]
                pairs = [[row["implicit"][damping][name] for row in group] for group in groups]
                lines.append([*about, *(spread(pair[i] for pair in group) for group in pairs for i in (0, 1))])
    heads = [f"{what}, {group[0]['steps']} steps ({len(group)})" for group in groups for what in ("cosine", "error")]
    return table(["damping, times 1 / rate", "estimate", *heads], lines)


def prices(rows: Rows) -> str:
    """Return the CPU time of a whole hypergradient by each rule over that of first order."""
    lines = []
    for kind in ("float32", "float64"):
        ratios = [price(row[f"seconds, {kind}"]) for row in rows]
        lines += [[kind, name, spread(one[name] for one in ratios)] for name in ratios[0]]
    return table(["", "rule", "times first order"], lines)


def price(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the time of rules over that of first order: the step ahead, and the gradient of the validation loss."""
    first = seconds["gradient in w"] + seconds["gradient in w and alpha"]
    alone = seconds["gradient in alpha"]
    found = {f"{name}": (first + count * alone) / first for name, count in COST.items()}
    exact = seconds["gradient in w and alpha"] + seconds["gradient in w and its product"]
    return {"exact": exact / first, **found}
