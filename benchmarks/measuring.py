"""What the benchmarks have in common: times as ratios within one run, the machine they ran on, files of results."""

from __future__ import annotations

import datetime
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).with_name("results")
ROUNDS = 9


def interleaved(
    acts: Mapping[str, Callable[[], object]], rounds: int, *, device: str = "cpu"
) -> dict[str, list[float]]:
    """Time each computation once in every round, in turn, so that a change of the machine's load hits all of them.

    Args:
        acts: The computations, by name; each runs once before, untimed.
        rounds: How many rounds.
        device: On a CPU it is the time that the process computed (`process_time`), elsewhere that of the clock on the
            wall, up to the end of the device's work.

    Returns:
        The seconds of each, by round.
    """
    clock = time.process_time if device == "cpu" else time.perf_counter
    found: dict[str, list[float]] = {name: [] for name in acts}
    for number in range(rounds + 1):
        for name, act in acts.items():
            started = clock()
            act()
            if device != "cpu":
                torch.cuda.synchronize()
            if number:
                found[name].append(clock() - started)
    return found


def ratio(seconds: list[float], unit: list[float]) -> dict[str, float]:
    """Return median, lowest and highest of the ratios within rounds."""
    ratios = [one / other for one, other in zip(seconds, unit, strict=True)]
    return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def machine(device: str = "cpu") -> dict[str, Any]:
    """Return what a reader of figures has to know."""
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "device": "CPU" if device == "cpu" else torch.cuda.get_device_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
    }


def save(name: str, found: Mapping[str, Any]) -> Path:
    """Write benchmarks/results/NAME.json.

    Args:
        name: The benchmark.
        found: Its "counts" are by name of a case, then of a figure: ours, whole numbers, the fewer the better. Its
            "ratios" are what `ratio` returns, by name. What else is in it is for its page.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return path


def load(name: str) -> dict[str, Any]:
    """Return what was saved, or nothing."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found
