"""The log of a run: numbers as CSV and for TensorBoard, at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from torch import Tensor

from applications.nas.run_folder.metrics import METRICS, MetricsFile
from applications.nas.run_folder.tensorboard import EventFiles


class RunLog:
    """Where a run logs its numbers: `metrics.csv`, and event files if TensorBoard is installed.

    Args:
        folder: Folder of the run.
        columns: The columns of the CSV file; a row may lack some, and may bring others.
        kept: Go on with the log of a run that was stopped, after so many of its rows; None to begin a new one.
    """

    def __init__(self, folder: Path, columns: Sequence[str] = (), *, kept: int | None = None) -> None:
        """Create the files."""
        self._csv = MetricsFile(folder / METRICS, columns, kept=kept)
        steps = [int(row["step"]) for row in self._csv.rows[-1:] if "step" in row]
        self._events = EventFiles(folder, after=None if kept is None else sum(steps))

    @property
    def rows(self) -> list[dict[str, float]]:
        """Everything that was logged."""
        return self._csv.rows

    @property
    def note(self) -> str:
        """Why there are no event files, or not all; empty if all is well."""
        return self._events.note

    def write(self, row: Mapping[str, float]) -> None:
        """Log numbers.

        Args:
            row: Numbers by name, and the "step" that they belong to. A name such as "loss/train" puts a number into the
                group "loss", that is, into one panel of the curves.

        Raises:
            DataError: If the CSV file cannot be written.
        """
        self._csv.write(row)
        self._events.write(row)

    def sync(self) -> None:
        """Wait until everything is on the disk."""
        self._csv.sync()
        self._events.flush()

    def write_tables(self, step: int, tables: Mapping[str, Tensor]) -> None:
        """Log tables, such as the architecture variables, as TensorBoard's histograms; once an epoch is enough."""
        self._events.write_tables(step, tables)

    def __enter__(self) -> RunLog:
        """Return self."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the files."""
        self._events.close()
        self._csv.__exit__(kind, error, at)
