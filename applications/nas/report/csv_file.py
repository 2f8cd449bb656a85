"""Tables as CSV: numbers in columns of their own, one line for each row of each table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from applications.nas.report.table import Table

COLUMNS = (
    "task",
    "metric",
    "origin",
    "method",
    "mean",
    "std",
    "n",
    "over",
    "retrainings_each",
    "best",
    "top5_mean",
    "top5_std",
    "parameters",
    "multiply_adds",
    "skips",
    "search_days",
    "search_device",
    "tested",
    "checked",
    "source",
)


def as_csv(tables: Sequence[Table]) -> str:
    """Return all tables as CSV; a field that is not known is empty."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        writer.writerows(_measured(table))
        writer.writerows(_quoted(table))
    return file.getvalue()


def _measured(table: Table) -> list[dict[str, Any]]:
    return [
        {
            "task": table.task,
            "metric": table.metric,
            "origin": "measured",
            "method": row.method,
            "mean": row.error.mean,
            "std": row.error.deviation,
            "n": row.error.count,
            "over": row.error.over,
            "retrainings_each": row.error.each,
            "best": "yes" if index in table.best else "no",
            "top5_mean": None if row.top5 is None else row.top5.mean,
            "top5_std": None if row.top5 is None else row.top5.deviation,
            "parameters": row.parameters,
            "multiply_adds": row.multiply_adds,
            "skips": row.skips,
            "search_days": row.days,
            "search_device": row.device,
            "tested": row.tested,
        }
        for index, row in enumerate(table.rows)
    ]


def _quoted(table: Table) -> list[dict[str, Any]]:
    return [
        {
            "task": table.task,
            "metric": table.metric,
            "origin": "quoted",
            "method": row.method,
            "mean": row.error,
            "std": row.std,
            "top5_mean": row.top5,
            "parameters": None if row.params_M is None else round(row.params_M * 1e6),
            "multiply_adds": None if row.multiply_adds_M is None else round(row.multiply_adds_M * 1e6),
            "search_days": row.cost_gpu_days,
            "search_device": "" if row.cost_gpu_days is None else "GPU",
            "checked": "yes" if row.checked else "no",
            "source": row.source,
        }
        for row in table.quoted
    ]
