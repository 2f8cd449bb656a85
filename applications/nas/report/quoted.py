"""Published figures, from a file that ships and from files of the user."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from applications.nas.report.csv_input import read_number, read_rows
from mlo import DataError

PUBLISHED = Path(__file__).with_name("quoted.csv")
"""The figures that ship; `checked` is yes where a figure was found in the paper, or in another paper's table of it."""

_PART = re.compile(r"[-_ ]mini$")


@dataclass(frozen=True)
class Quoted:
    """A row that was published and not measured here; None stands for what its source does not say.

    Attributes:
        table: The data set.
        method: How its source calls the method.
        error: Test error in percent, for ImageNet top-1.
        std: Its standard deviation.
        top5: Top-5 error in percent.
        params_M: Parameters in millions.
        multiply_adds_M: Multiply-adds of one image in millions.
        cost_gpu_days: Of the search.
        checked: Whether the figures were compared with a source, not quoted from memory.
        source: Where they were published.
    """

    table: str
    method: str
    error: float | None
    std: float | None
    top5: float | None
    params_M: float | None  # noqa: N815 - M is the unit
    multiply_adds_M: float | None  # noqa: N815
    cost_gpu_days: float | None
    checked: bool
    source: str


def read_quoted(file: Path) -> list[Quoted]:
    """Read published figures.

    Args:
        file: CSV with a header; `table`, `method` and `source` are needed, the other columns of `Quoted` may be missing
            or empty.

    Raises:
        DataError: If something in it is not as it should be; the message names the line.
    """
    known = [field.name for field in fields(Quoted)]
    return [_row(texts, where) for where, texts in read_rows(file, known, ("table", "method", "source"))]


def same_data(table: str, task: str) -> bool:
    """Say whether a task is the data set of a table, or a part of it: "cifar10" and "cifar10-mini" are CIFAR-10."""
    first, second = (plain(_PART.sub("", name.lower())) for name in (table, task))
    return first == second


def is_part(task: str) -> bool:
    """Say whether the name of a task says that it is a part of a data set."""
    return _PART.search(task.lower()) is not None


def plain(name: str) -> str:
    """Return a name without what is written in different ways: "IL-DARTS2nd" is "IL-DARTS-2nd"."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _row(texts: Mapping[str, str], where: str) -> Quoted:
    if texts["checked"] not in ("yes", "no", ""):
        raise DataError(f"{where}: 'checked' is {texts['checked']!r}: give yes or no")
    figures = list(texts)[2:8]
    error, std, top5, params, adds, cost = (read_number(texts[name], name, where, negative=False) for name in figures)
    checked = texts["checked"] == "yes"
    return Quoted(texts["table"], texts["method"], error, std, top5, params, adds, cost, checked, texts["source"])
