"""Logged numbers as event files of TensorBoard, where it is installed."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

EVENTS = "tensorboard"
NOT_INSTALLED = "no TensorBoard event files: it is not installed (pip install tensorboard); metrics.csv has the numbers"
_LARGEST_BIN = 1e20
_NAME = re.compile(r"events\.out\.tfevents\.(\d{10})\.")  # with the second in which the file was begun


class EventFiles:
    """Event files in a folder of their own; without TensorBoard, or once they cannot be written, nothing.

    They only repeat what the run keeps elsewhere, so no failure here ends a run.

    Args:
        folder: Folder of the run; they go into its folder `tensorboard`.
        after: Go on after this step of a run that was stopped: readers drop what was logged behind it before.

    Attributes:
        note: Why there are none, or no more of them; empty if all is well.
    """

    def __init__(self, folder: Path, *, after: int | None = None) -> None:
        """Begin an event file."""
        self.note = ""
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter  # type: ignore[attr-defined,unused-ignore]

            first = None if after is None else after + 1
            _put_behind(folder / EVENTS)
            self._writer = SummaryWriter(str(folder / EVENTS), purge_step=first)
        except ImportError:
            self.note = NOT_INSTALLED
        except OSError as error:
            self._give_up(error)

    def write(self, row: Mapping[str, float]) -> None:
        """Write the numbers of a row as scalars, at its "step"."""
        step = int(row["step"])
        for name, value in row.items():
            if name != "step":
                self._do("add_scalar", name, value, step)

    def write_tables(self, step: int, tables: Mapping[str, Tensor]) -> None:
        """Write tables as histograms of their entries that are finite, and within the bins of TensorBoard.

        Args:
            step: Where on the axis.
            tables: Of any shapes, by name.
        """
        for name, table in tables.items():
            finite = table.detach().cpu().flatten()
            finite = finite[finite.abs() < _LARGEST_BIN]
            if finite.numel():  # TensorBoard refuses a histogram of nothing
                self._do("add_histogram", name, finite, step)

    def flush(self) -> None:
        """Bring to disk what was logged until now."""
        self._do("flush")

    def close(self) -> None:
        """Bring everything to disk."""
        self._do("close")

    def _do(self, name: str, *arguments: Any) -> None:
        if self._writer is None:
            return
        try:
            getattr(self._writer, name)(*arguments)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._writer = None
        self.note = f"TensorBoard's event files end early ({error.strerror or error}); metrics.csv has all numbers"

    def __enter__(self) -> EventFiles:
        """Return self."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Bring everything to disk."""
        self.close()


def _put_behind(folder: Path) -> None:
    """Let the event files that are there come before the next one, whatever the clock says.

    Readers take them in the order of their names, which tell the second in which each was begun.
    """
    now = int(time.time())
    found = sorted((match[1], path) for path in folder.glob("*") if (match := _NAME.match(path.name)))
    if found and int(found[-1][0]) >= now:
        for number, (second, path) in enumerate(found):
            path.rename(path.with_name(path.name.replace(second, f"{number:010d}", 1)))
