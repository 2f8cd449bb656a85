"""What watching leaves in the folder of a search."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from applications.nas.run_folder import Snapshot, write_json, write_text
from applications.nas.space.cell import CELL_TYPES
from applications.nas.watch.collapse import Alarm

EPOCHS, WARNINGS = "epochs.csv", "warnings.json"


def write_epochs(folder: Path, history: Sequence[Snapshot]) -> None:
    """Write the numbers of all epochs as a table; what was not measured stays empty.

    Args:
        folder: Of the search.
        history: Of the search.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["stage", "epoch", *(f"skips/{name}" for name in CELL_TYPES), "gap", "eigenvalue"])
    for entry in history:
        skips = [entry.skips[name] for name in CELL_TYPES]
        table.writerow([entry.stage, entry.epoch, *skips, entry.gap, entry.eigenvalue])
    write_text(folder / EPOCHS, text.getvalue())


def write_warnings(folder: Path, alarms: Sequence[Alarm]) -> None:
    """Write the alarms of a search, oldest first; an empty list says that there were none."""
    write_json(folder / WARNINGS, [asdict(alarm) for alarm in alarms])
