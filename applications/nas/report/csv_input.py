"""CSV files that a report takes in: read strictly, so that an error names the line and what to write there."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mlo import DataError


def read_rows(file: Path, known: Sequence[str], needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Read the rows of a CSV file with a header.

    Args:
        file: The file.
        known: All columns; those that are missing are read as empty.
        needed: Those that must not be empty.

    Yields:
        For each row where it stands, in words, and its text in each column.

    Raises:
        DataError: If the file is no CSV, has another column, or a text that is needed is empty.
    """
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as CSV: {error}") from error
    for number, row in enumerate(rows, start=1):
        where = f"{file}, row {number}"
        yield where, _texts(row, known, needed, where)


def read_number(text: str, name: str, where: str, *, negative: bool = True) -> float | None:
    """Read a number; None if there is no text.

    Args:
        text: What stands there.
        name: Its column.
        where: Its row, in words.
        negative: Whether it may be below zero.

    Raises:
        DataError: If it is no number, not finite, or negative where it must not be.
    """
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise DataError(f"{where}: {name!r} is {text!r}, no number: leave it empty if it is not known") from error
    if not math.isfinite(value) or (value < 0 and not negative):
        wanted = "a finite number" if negative else "a finite number that is not negative"
        raise DataError(f"{where}: {name!r} is {text!r}: give {wanted}")
    return value


def _texts(row: Mapping[str, str | None], known: Sequence[str], needed: Sequence[str], where: str) -> dict[str, str]:
    unknown = [str(name) for name in row if name not in known]
    if unknown:
        raise DataError(f"{where}: no column is called {', '.join(unknown)}; they are {', '.join(known)}")
    texts = {name: (row.get(name) or "").strip() for name in known}
    for name in needed:
        if not texts[name]:
            raise DataError(f"{where}: {name!r} is empty: say which {name} it is")
    return texts
