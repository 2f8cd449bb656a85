"""Logged numbers as a CSV file."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from applications.nas.files import explained, read_text, write_text
from mlo import DataError

METRICS = "metrics.csv"
log = logging.getLogger("mlo.nas")


class MetricsFile:
    """A CSV file that gains one row at a time, on disk as soon as it is written, and nowhere else.

    A row may lack columns: their cells stay empty. One that brings a new column makes the file be written anew, with
    that column last and empty in the rows before.

    Args:
        path: The file.
        columns: The first columns; others follow as rows bring them.
        kept: Go on with a file that is there, after so many of its rows; None to begin a new one.
    """

    def __init__(self, path: Path, columns: Sequence[str] = (), *, kept: int | None = None) -> None:
        """Create the file."""
        self._path, self._columns = path, list(columns)
        if kept is not None:
            self._take_up(kept)
            return
        with explained(path):
            self._file: TextIO = path.open("w", newline="", encoding="utf-8")
            try:
                self._append(self._columns)
            except OSError:
                self._drop()
                raise

    def _take_up(self, kept: int) -> None:
        """Keep the first rows of the file, as they are, and drop the others."""
        found = len(_read(self._path))  # says what is wrong with it
        with self._path.open(newline="", encoding="utf-8") as file:  # the ends of lines as they are
            lines = file.readlines()[: min(kept, found) + 1]
        if found < kept:  # a system that went down may have lost what was not yet on the disk
            log.warning("%s: %d of %d rows are lost", self._path, kept - found, kept)
        if lines:
            self._columns = next(csv.reader(lines[:1]))
        write_text(self._path, "".join(lines))
        with explained(self._path):
            self._file = self._path.open("a", newline="", encoding="utf-8")

    def write(self, row: Mapping[str, float]) -> None:
        """Append a row.

        Raises:
            DataError: If it cannot be written.
        """
        new = [column for column in row if column not in self._columns]
        with explained(self._path):
            if new:
                self._rewrite(new, row)
            else:
                self._append(self._cells(row))

    def sync(self) -> None:
        """Wait until all rows are on the disk.

        Raises:
            DataError: If they cannot be written.
        """
        with explained(self._path):
            os.fsync(self._file.fileno())

    @property
    def rows(self) -> list[dict[str, float]]:
        """What was written, read from the file: a long run must not hold it.

        Raises:
            DataError: If the file is gone or was changed.
        """
        return _read(self._path)

    def _cells(self, row: Mapping[str, float]) -> list[object]:
        return [row.get(column, "") for column in self._columns]

    def _append(self, cells: Sequence[object]) -> None:
        if not cells:
            return
        csv.writer(self._file).writerow(cells)
        self._file.flush()

    def _rewrite(self, new: Sequence[str], row: Mapping[str, float]) -> None:
        rows = [*self.rows, row] if self._columns else [row]  # without columns there is no first line to read
        self._columns += new
        text = io.StringIO(newline="")
        csv.writer(text).writerows([self._columns, *(self._cells(one) for one in rows)])
        write_text(self._path, text.getvalue())
        # What was open is no longer the file of that name.
        self._file.close()
        self._file = self._path.open("a", newline="", encoding="utf-8")

    def __enter__(self) -> MetricsFile:
        """Return self."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the file."""
        if error is not None:
            self._drop()
            return
        with explained(self._path):
            self._file.close()

    def _drop(self) -> None:
        """Close the file after an error, which matters more than that closing, too, finds no room."""
        with suppress(OSError):
            self._file.close()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Read what `MetricsFile` wrote; a last line that is not complete, as of a search that still runs, is left out.

    Args:
        folder: Folder of a run.

    Returns:
        The rows, without the columns that are empty in them.

    Raises:
        DataError: If the file is missing or holds something else.
    """
    return _read(folder / METRICS)


def _read(file: Path) -> list[dict[str, float]]:
    lines = read_text(file).splitlines(keepends=True)
    complete = lines if not lines or lines[-1].endswith("\n") else lines[:-1]
    rows = []
    for number, row in enumerate(csv.DictReader(complete), start=2):
        if None in row or None in row.values():
            raise DataError(f"{file}: line {number} has not as many cells as the first: remove that line")
        try:
            rows.append({name: float(cell) for name, cell in row.items() if cell})
        except ValueError as error:
            raise DataError(f"{file}: line {number}: {error}: remove that line") from error
    return rows
