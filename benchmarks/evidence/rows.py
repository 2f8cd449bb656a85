"""Rows of reports, as the page of results picks and words them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.evidence.study import Kept, Row
from mlo import DataError

NONE = "Not run yet."
BASES = ("DARTS-1st", "DARTS-2nd", "P-DARTS", "PC-DARTS")
TASKS = ("cifar100-mini", "cifar10-mini")
SIZED = "random, of its size"
"""The rival that reports compare each row with beside all random cells."""
OFF_LINE = "‡"
"""Marks a comparison in which a cell is smaller or larger than all random ones, or these are too few for a line."""
_PLAIN = (
    (r"formulation\.weight=", "lambda = "),
    (r", rho=[^,)]+", ""),
    (r"formulation\.form=implicit", "proximal step"),
    (r"formulation\.form=explicit", "equation 7"),
    (r"formulation\.rounds=", "M = "),
    (r"formulation\.(order|start)=", r"\1: "),
    (r"gradient\.rule=difference, gradient\.epsilon=", "difference of "),
    (r"gradient\.rule=exact, gradient\.epsilon=[^,)]+", "exact"),
)
"""What a setting in the name of a row is called on the page."""
UNNAMED = r"-(size|lambda-helps|lambda-hurts)$"
"""What fits the names of the claims that the protocol does not name; they are judged all the same."""
_ABOUT = {
    "evidence-table": r"-(darts1st|darts2nd|pdarts|pcdarts)-",
    "evidence-lambda": r"-(lambda|held)",
    "evidence-rounds": r"-rounds",
    "evidence-order": r"-order",
    "evidence-start": r"-start",
    "evidence-rule": r"-rule-",
}
"""What fits the names of the claims that a study is about."""


def asked(study: Kept) -> list[Row]:
    """Return the verdicts on the claims that a study is about; its rows may fit those of others, too."""
    return [row for row in study.verdicts if re.search(_ABOUT[study.name], row["id"])]


def study_called(studies: Sequence[Kept], name: str) -> Kept | None:
    """Return the study of a name, if it is there."""
    return next((one for one in studies if one.name == name), None)


def random_cells(table: Kept, task: str) -> list[Row]:
    """Return the trained random cells of a study."""
    return [point for point in table.points if (point["part"], point["task"]) == ("random", task)]


def named_before(row: Row) -> bool:
    """Tell whether the protocol names the comparison of a claim."""
    return not re.search(UNNAMED, row["id"])


def outcome(row: Row) -> str:
    """Return a verdict in words that say what it rules out."""
    out = {"better": "a gain of 1 point is ruled out", "same": "they differ", "no larger": "they are larger"}
    return f"refuted: {out[row['kind']]}" if row["verdict"] == "refuted" else row["verdict"]


def plain(name: str) -> str:
    """Return the name of a row in the words of the page."""
    for pattern, words in _PLAIN:
        name = re.sub(pattern, words, name)
    return name


def difference(row: Row) -> str:
    """Write a difference with its interval; bold where the interval does not hold 0."""
    mean = f"{float(row['difference']):+.2f}"
    if not row["low"]:
        return mean
    low, high = float(row["low"]), float(row["high"])
    text = f"{mean} [{low:.2f}, {high:.2f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def compared(rows: Sequence[Row], rival: str, measure: str) -> str:
    """Write the comparison with a rival, of those of one method on one task."""
    fits = [row for row in rows if row["rival"] == rival and row["measure"] == measure]
    if len(fits) != 1:
        raise DataError(f"{len(fits)} comparisons with {rival} in {measure}, where one should be: look at the report")
    text = difference(fits[0])
    return text if fits[0]["by_line"] in ("", fits[0]["n_method"]) else f"{text} {OFF_LINE}"
