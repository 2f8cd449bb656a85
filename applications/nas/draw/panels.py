"""Which logged numbers are drawn together, and under which title."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from applications.nas.run_folder.history import Snapshot

# By what stands before the slash of a column, or by the column itself; in the order of the panels.
_TITLES = {
    "loss": "loss",
    "error": "error in percent",
    "gradient": "norm of the gradient",
    "skips": "skip connections",
    "hessian": "largest eigenvalue of the Hessian",
    "gap": "discretization gap",
    "lr": "learning rate",
}
_PLACES = ("step", "epoch", "stage")


def group_columns(columns: Iterable[str]) -> dict[str, list[str]]:
    """Group the columns of a log into panels.

    Args:
        columns: Names such as "loss/train", which belongs to the group "loss", or "lr".

    Returns:
        By title, the columns of each panel; known groups first. "step", "epoch" and "stage" are where, not what, and
        belong to none.
    """
    groups: dict[str, list[str]] = {}
    for column in columns:
        if column not in _PLACES:
            groups.setdefault(column.partition("/")[0], []).append(column)
    order = [*_TITLES, *(name for name in groups if name not in _TITLES)]
    return {_TITLES.get(name, name): groups[name] for name in order if name in groups}


def epoch_rows(rows: Sequence[Mapping[str, float]], snapshots: Sequence[Snapshot]) -> list[dict[str, float]]:
    """Return the numbers of a history as rows of a log, each at the last step of its epoch.

    Args:
        rows: The log, whose rows tell "step" and "epoch", and "stage" if there are several.
        snapshots: The history; entries whose epoch the log does not know are left out.
    """
    last = {(int(row.get("stage", 1)), int(row["epoch"])): row["step"] for row in rows if "epoch" in row}
    return [
        {"step": last[place], **_numbers(snapshot)}
        for snapshot in snapshots
        if (place := (snapshot.stage, snapshot.epoch)) in last
    ]


def _numbers(snapshot: Snapshot) -> dict[str, float]:
    """Return what a snapshot tells in numbers; what was not measured is left out."""
    skips = {f"skips/{kind} cell": float(count) for kind, count in snapshot.skips.items()}
    measured = {"gap/validation loss": snapshot.gap, "hessian/validation loss": snapshot.eigenvalue}
    return skips | {name: value for name, value in measured.items() if value is not None}
