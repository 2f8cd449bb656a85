"""Retrainings of the same method, put together as one row of a table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from applications.nas.report.records import Retrained, Searched, Tested
from applications.nas.report.samples import Sample, make_sample
from applications.nas.report.settings_diff import flat, tell_apart
from applications.nas.report.spread import Spread, spread

_PREFIX = {"single": "", "multi": "MTL-", "interleaving": "IL-"}


@dataclass(frozen=True)
class Row:
    """What was measured of one method on one task.

    Attributes:
        method: Its name, with the settings in which it differs from others of that name.
        error: The metric.
        top5: Top-5 error, if all its trainings tell it.
        parameters: Weights, the mean over cells.
        multiply_adds: Of one image, the mean over cells, if all its trainings tell it.
        days: Mean cost of a search in days of one device; 0 for a random cell; None if it is not known.
        device: "GPU", "CPU", both with a slash between them, or empty.
        tested: Test images.
        settings: Of search and retraining, flat; those of the retraining begin with "retrain.".
        repeated: Trainings that were left out as they repeat one of the same cell, seed and settings.
        base: Its name without what tells it apart from others of that name.
        search: A search of it, whose seed is one of several; None without one.
        samples: Its cells, one by one.
    """

    method: str
    error: Spread
    top5: Spread | None
    parameters: float
    multiply_adds: float | None
    days: float | None
    device: str
    tested: int
    settings: dict[str, str]
    repeated: int
    base: str
    search: Searched | None
    samples: tuple[Sample, ...]

    @property
    def skips(self) -> float | None:
        """Skip connections of the normal cell, the mean over cells, if all are known."""
        known = [sample.skips for sample in self.samples if sample.skips is not None]
        return statistics.fmean(known) if len(known) == len(self.samples) else None


def measured_rows(runs: Sequence[Retrained], task: str, metric: str) -> list[Row]:
    """Return one row for each method, the smallest mean first.

    Runs whose settings differ in more than seeds and devices are different rows.

    Args:
        runs: Retrainings, on any tasks.
        task: The task of the table.
        metric: The metric of the table.
    """
    groups: dict[tuple[str, ...], list[Retrained]] = {}
    for run in runs:
        if any(test.task == task and test.metric == metric for test in run.tests):
            key = (base_name(run, task), json.dumps(_settings(run), sort_keys=True))
            groups.setdefault(key, []).append(run)
    rows = [_row(key[0], members, task, metric) for key, members in groups.items()]
    return sorted(_told_apart(rows), key=lambda row: row.error.mean)


def base_name(run: Retrained, task: str) -> str:
    """Return the name of a method, as the source of interleaving writes it: IL-, MTL- or nothing before the method."""
    if run.search is None:
        return run.cell
    search = run.search
    name = f"{_PREFIX.get(search.formulation, search.formulation + ' ')}{search.method}"
    elsewhere = task not in search.tasks
    return f"{name} (searched on {', '.join(search.tasks)})" if elsewhere else name


def _settings(run: Retrained) -> dict[str, str]:
    searched = {} if run.search is None else flat(run.search.settings)
    return searched | {f"retrain.{path}": text for path, text in flat(run.settings).items()}


def _row(name: str, runs: Sequence[Retrained], task: str, metric: str) -> Row:
    tests: dict[tuple[str, ...], dict[int, Tested]] = {}
    first: dict[tuple[str, ...], Retrained] = {}
    repeated = 0
    for run in runs:
        # A search that is repeated with its seed finds the same cell: that is no second search.
        cell = (run.genotype, "" if run.search is None else str(run.search.seed))
        for test in run.tests:
            if test.task == task and test.metric == metric:
                repeated += test.seed in tests.setdefault(cell, {})
                tests[cell].setdefault(test.seed, test)
                first.setdefault(cell, run)
    over = "searches" if runs[0].search is not None else "cells"
    cells = {cell: list(found.values()) for cell, found in tests.items()}
    each = [found[0] for found in cells.values()]
    days, device = _cost(list(first.values()))
    top5 = {cell: [test.top5 for test in found if test.top5 is not None] for cell, found in cells.items()}
    adds = [test.multiply_adds for test in each if test.multiply_adds is not None]
    return Row(
        method=name,
        error=spread({cell: [test.error for test in found] for cell, found in cells.items()}, over),
        top5=spread(top5, over) if all(len(top5[cell]) == len(cells[cell]) for cell in cells) else None,
        parameters=statistics.fmean(test.parameters for test in each),
        multiply_adds=statistics.fmean(adds) if len(adds) == len(each) else None,
        days=days,
        device=device,
        tested=min(test.tested for test in each),
        settings=_settings(runs[0]),
        repeated=repeated,
        base=name,
        search=runs[0].search,
        samples=tuple(make_sample(first[cell], found) for cell, found in cells.items()),
    )


def _cost(runs: Sequence[Retrained]) -> tuple[float | None, str]:
    """Return the mean cost of the searches in days, and of what device."""
    searches = {run.search.folder.resolve(): run.search for run in runs if run.search is not None}
    if not searches:
        return (0.0, "") if runs[0].cell == "random" else (None, "")
    kinds = {"CPU" if search.device == "cpu" else "GPU" for search in searches.values()}
    return statistics.fmean(search.days for search in searches.values()), "/".join(sorted(kinds))


def _told_apart(rows: Sequence[Row]) -> list[Row]:
    """Add to names that occur several times what their settings differ in, so that no two rows have the same one."""
    found = []
    for row in rows:
        told = tell_apart(row.settings, [other.settings for other in rows if other.method == row.method])
        found.append(replace(row, method=f"{row.method} ({told})") if told else row)
    return found
