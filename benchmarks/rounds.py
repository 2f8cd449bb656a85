"""Time ratios: rivals in turn, in one run, over many rounds; and where figures are stored.

One method's time varied fivefold inside a run on a shared machine, so a time means something only beside its rival's of
the same round. What is reported are the median and the spread of the ratios of each round.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).resolve().parent / "results"


def interleaved(
    actions: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, list[float]]:
    """Return the seconds of each action in each round; one round before the first is not timed."""
    for action in actions.values():
        action()
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            started = clock()
            action()
            seconds[name].append(clock() - started)
    return seconds


def over(left: list[float], right: list[float]) -> dict[str, float]:
    """Return left / right of each round: median, lowest and highest."""
    return spread([one / other for one, other in zip(left, right, strict=True)])


def spread(values: list[float]) -> dict[str, float]:
    """Return median, lowest and highest, to four figures."""
    found = {"median": statistics.median(values), "low": min(values), "high": max(values)}
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def store(name: str, case: str, found: dict[str, Any]) -> Path:
    """Put the figures of one case into results/NAME.json, with what they were measured on; other cases stay."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    cases = json.loads(path.read_text()) if path.exists() else {}
    cases[case] = {"machine": machine(), **found}
    path.write_text(json.dumps(cases, indent=1) + "\n")
    return path


def machine() -> dict[str, Any]:
    """Return what times depend on; the load is the mean of the last minute, this process included."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "torch": torch.__version__,
        "device": f"CPU, {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
    }
