"""The results of retrainings as a table: a row for each task, a mean over its seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.table import Table

from applications.nas.console_table import console_table
from applications.nas.retrain.training import Training

HEADER = ("task", "metric", "test", "top-5 error %", "params", "mult-adds", "images")


def rows(trainings: Sequence[Training]) -> list[tuple[str, ...]]:
    """Return one row for each task, in the order of `HEADER`."""
    found: list[tuple[str, ...]] = []
    for task in dict.fromkeys(training.task for training in trainings):
        mine = [training for training in trainings if training.task == task]
        one, top5 = mine[0], [training.top5 for training in mine if training.top5 is not None]
        test = mean_and_spread([training.error for training in mine])
        cost = "-" if one.multiply_adds is None else _millions(one.multiply_adds)
        found.append(
            (task, one.metric, test, mean_and_spread(top5), _millions(one.parameters), cost, f"{one.tested:,}")
        )
    return found


def as_table(trainings: Sequence[Training]) -> Table:
    """Return the rows as a table for a console."""
    return console_table(HEADER, rows(trainings), left=2)


def mean_and_spread(values: Sequence[float]) -> str:
    """Return "mean ± standard deviation (n)", or the value alone if there is one."""
    if len(values) < 2:
        return f"{values[0]:.2f}" if values else "-"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} (n={len(values)})"


def _millions(count: int) -> str:
    """Write a count in millions, with enough digits for a small one."""
    return f"{count / 1e6:.2f} M" if count >= 1e6 else f"{count / 1e6:.4f} M"
