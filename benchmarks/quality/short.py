"""What the study of hypergradients comes to, in sentences whose numbers are those of its rows."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable

from benchmarks.quality.judge import STEPS
from benchmarks.quality.rules import LENGTHS
from benchmarks.quality.tables import Row, Rows, by, change, natural, price, spread, told

PUBLISHED = "central 0.01"


def short(rows: Rows) -> str:
    """Return the findings as a list."""
    some = natural(rows)
    found = [_exactness(some), *(_prediction(some, f"{step:g}") for step in STEPS), _steps(some), _time(rows)]
    smooth = by(
        [row for row in rows if re.fullmatch("softplus.*mean pools", row["shape"])], lambda row: str(row["shape"])
    )
    found[1:1] = [_smooth(one, some) for one in smooth.values()]
    return "\n".join(f"- {one}" for one in found)


def _error(name: str) -> Callable[[Row], float]:
    return lambda row: float(row["float64"][name][1])


def _median(rows: Rows, value: Callable[[Row], float]) -> float:
    return statistics.median(value(row) for row in rows)


def _exactness(some: Rows) -> str:
    best = min(LENGTHS, key=lambda length: _median(some, _error(f"central {length:g}")))
    worse = sum(_error(PUBLISHED)(row) > _error("first")(row) for row in some)
    published, first, least = (spread(map(_error(name), some)) for name in (PUBLISHED, "first", f"central {best:g}"))
    turned = [spread((row["float64"][name][0] for row in some), ".4f") for name in (PUBLISHED, "first")]
    return (
        f"Against the exact derivative the published difference (0.01) is off by {published} of the hypergradient, "
        f"first order by {first}: dropping the product is closer than taking it so at {worse} of {len(some)} points. "
        f"The best length is {best:g}, off by {least}. Cosines with the exact one are {turned[0]} for 0.01, and "
        f"{turned[1]} for first order."
    )


def _smooth(smooth: Rows, some: Rows) -> str:
    """Compare networks without kinks with those that are the same in all else."""
    keys = ("data", "method", "channels", "layers", "seed", "steps", "batch")
    alike = {tuple(row[key] for key in keys) for row in smooth}
    beside = [row for row in some if tuple(row[key] for key in keys) in alike]
    about = f"({smooth[0]['shape']}; points: {len(smooth)})"
    text = f"Without kinks {about} the same difference of 0.01 is off by {spread(map(_error(PUBLISHED), smooth))}"
    if beside:
        text += f"; at the same points with kinks by {spread(map(_error(PUBLISHED), beside))}"
    return f"{text}."


def _prediction(some: Rows, move: str) -> str:
    best = min(LENGTHS, key=lambda length: _median(some, lambda row: told(row, move, f"central {length:g}")))
    name = f"central {best:g}"
    won = sum(told(row, move, name) < told(row, move, "exact") for row in some)
    errors = {rule: spread(told(row, move, rule) for row in some) for rule in ("exact", "first", PUBLISHED, name)}
    listed = ", ".join(f"`{rule}` {error}" for rule, error in errors.items())
    return (
        f"When every entry of the architecture moves by {move}, the relative error of the predicted change of the loss "
        f"is: {listed}. `{name}`, the best length in hindsight, beats the exact derivative at {won} of {len(some)} "
        "points."
    )


def _steps(some: Rows) -> str:
    step = f"{STEPS[-1]:g}"
    changes = [change(row, "exact", step, "elsewhere") for row in some]
    base, falls = statistics.mean(changes), sum(one < 0 for one in changes)
    around = f" ± {statistics.stdev(changes):.2g}" if len(changes) > 1 else ""
    parts = []
    for name in ("first", PUBLISHED, "central 0.1"):
        gaps = [change(row, "exact", step, "elsewhere") - change(row, name, step, "elsewhere") for row in some]
        off = f" ± {100 * statistics.stdev(gaps) / abs(base):.1f}" if len(gaps) > 1 else ""
        parts.append(f"`{name}` {100 * statistics.mean(gaps) / abs(base):+.1f}{off} %")
    return (
        f"A step of {step} against the signs of the exact hypergradient changes the looked-ahead loss on batches that "
        f"it has not seen by {base:.2g}{around} on average; the loss falls at {falls} of {len(some)} points. How much "
        f"further it falls by others (mean and standard deviation over the points): {', '.join(parts)}."
    )


def _time(rows: Rows) -> str:
    prices = [price(row["seconds, float32"]) for row in rows]
    ratio = spread(one["exact"] / one["central"] for one in prices)
    return (
        f"In CPU time, a hypergradient by double backward takes {ratio} times one by a central difference, in float32."
    )
