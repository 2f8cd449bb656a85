"""Claims that a report judges: data, from a file that ships or from one of the user."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, cast, get_args

from mlo import DataError

CLAIMS = Path(__file__).with_name("claims.csv")
"""The claims that ship."""
Kind = Literal["better", "same", "no larger"]
SMALLEST = 1.0
"""The smallest difference that matters where a claim names none: a point."""


@dataclass(frozen=True)
class Claim:
    """A sentence about two rows of a table.

    Attributes:
        id: Its name, which no other has.
        sentence: What is claimed.
        kind: Whether the method is to have the smaller error ("better"), the same error ("same"), or no larger
            networks ("no larger").
        task: The data set.
        method: The method, such as IL-DARTS-2nd; "*" stands for any base method, the same on both sides.
        settings: Settings by which its row is chosen, by dotted path; "order" is that of the tasks.
        rival: What it is compared with.
        rival_settings: Settings by which the rival's row is chosen.
        matters: The smallest difference that matters, in points of error, or in percent of size.
        quoted: The difference in the source: rival minus method; None if there is none.
        source: Where it is claimed.
    """

    id: str
    sentence: str
    kind: Kind
    task: str
    method: str
    settings: Mapping[str, str]
    rival: str
    rival_settings: Mapping[str, str]
    matters: float
    quoted: float | None
    source: str


def read_claims(file: Path) -> list[Claim]:
    """Read claims.

    Args:
        file: CSV with a header; `settings`, `rival_settings` (as "path=value; path=value"), `matters` and `quoted` may
            be missing or empty.

    Raises:
        DataError: If something in it is not as it should be; the message names the line.
    """
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as CSV: {error}") from error
    found: dict[str, Claim] = {}
    for number, row in enumerate(rows, start=1):
        claim = _claim(row, f"{file}, row {number}")
        if claim.id in found:
            raise DataError(f"{file}, row {number}: 'id' {claim.id!r} stands above, too: give each claim its own")
        found[claim.id] = claim
    return list(found.values())


def _claim(row: Mapping[str, str | None], where: str) -> Claim:
    known = [field.name for field in fields(Claim)]
    unknown = [str(name) for name in row if name not in known]
    if unknown:
        raise DataError(f"{where}: no column is called {', '.join(unknown)}; they are {', '.join(known)}")
    texts = {name: (row.get(name) or "").strip() for name in known}
    for name in ("id", "sentence", "task", "method", "rival", "source"):
        if not texts[name]:
            raise DataError(f"{where}: {name!r} is empty: say which {name} it is")
    if texts["kind"] not in get_args(Kind):
        raise DataError(f"{where}: 'kind' is {texts['kind']!r}: give {', '.join(get_args(Kind))}")
    if ("*" in texts["rival"]) > ("*" in texts["method"]):
        raise DataError(f"{where}: 'rival' is {texts['rival']!r}, and 'method' has no *: write * in both")
    matters = _number(texts["matters"], "matters", where)
    if matters is not None and matters <= 0:
        raise DataError(f"{where}: 'matters' is {texts['matters']!r}: give a positive number, or leave it empty")
    return Claim(
        id=texts["id"],
        sentence=texts["sentence"],
        kind=cast(Kind, texts["kind"]),
        task=texts["task"],
        method=texts["method"],
        settings=_settings(texts["settings"], "settings", where),
        rival=texts["rival"],
        rival_settings=_settings(texts["rival_settings"], "rival_settings", where),
        matters=SMALLEST if matters is None else matters,
        quoted=_number(texts["quoted"], "quoted", where),
        source=texts["source"],
    )


def _settings(text: str, name: str, where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        path, sign, value = (piece.strip() for piece in part.partition("="))
        if not (path and sign) or path in found:
            raise DataError(f"{where}: {name!r} is {text!r}: write path=value, each path once, with ; between them")
        found[path] = value
    return found


def _number(text: str, name: str, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise DataError(f"{where}: {name!r} is {text!r}, no number: leave it empty if it is not known") from error
    if not math.isfinite(value):
        raise DataError(f"{where}: {name!r} is {text!r}: give a finite number")
    return value
