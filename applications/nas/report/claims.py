"""Claims that a report judges: data, from a file that ships or from one of the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, cast, get_args

from applications.nas.report.csv_input import read_number, read_rows
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
    found: dict[str, Claim] = {}
    needed = ("id", "sentence", "task", "method", "rival", "source")
    for where, texts in read_rows(file, [field.name for field in fields(Claim)], needed):
        claim = _claim(texts, where)
        if claim.id in found:
            raise DataError(f"{where}: 'id' {claim.id!r} stands above, too: give each claim its own")
        found[claim.id] = claim
    return list(found.values())


def _claim(texts: Mapping[str, str], where: str) -> Claim:
    if texts["kind"] not in get_args(Kind):
        raise DataError(f"{where}: 'kind' is {texts['kind']!r}: give {', '.join(get_args(Kind))}")
    if ("*" in texts["rival"]) > ("*" in texts["method"]):
        raise DataError(f"{where}: 'rival' is {texts['rival']!r}, and 'method' has no *: write * in both")
    matters = read_number(texts["matters"], "matters", where)
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
        quoted=read_number(texts["quoted"], "quoted", where),
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
