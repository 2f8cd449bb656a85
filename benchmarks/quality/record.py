"""Rows: what is measured at one point, and the file that keeps them."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.quality.implicit import against_implicit
from benchmarks.quality.judge import judged
from benchmarks.quality.kinks import crossed, pattern
from benchmarks.quality.point import Point
from benchmarks.quality.rules import LENGTHS, Ahead, estimates, seconds
from benchmarks.rounds import machine

ROOT = Path(__file__).resolve().parents[2]


def measured(point: Point, elsewhere: Point) -> dict[str, Any]:
    """Return all figures of one point that concern one step ahead.

    Args:
        point: In float32, as the search left it.
        elsewhere: The same with other batches.
    """
    wide = point.to(torch.float64)
    ahead = Ahead.of(wide)
    found = dict(estimates(ahead))
    exact = found["exact"]
    row: dict[str, Any] = {"sizes": sizes(ahead, exact)}
    row["float64"] = {name: far(h, exact) for name, h in found.items() if name != "exact"}
    row["float32"] = {name: far(h, exact) for name, h in estimates(Ahead.of(point), more=False) if name != "first"}
    row["kinks"] = kinks(ahead)
    row["judge"] = judged(wide, elsewhere.to(torch.float64), found)
    row["seconds, float64"], row["seconds, float32"] = seconds(ahead), seconds(Ahead.of(point))
    return row


def solved(point: Point) -> dict[str, Any]:
    """Return the figures of the implicit counterpart of one step.

    Args:
        point: In float32, as the search left it.
    """
    return {"implicit": against_implicit(Ahead.of(point.to(torch.float64)), far)}


def far(estimate: Tensor, right: Tensor) -> list[float]:
    """Return cosine and relative error, to four figures."""
    one = estimate.double()
    cosine = float(one @ right / (one.norm() * right.norm()))
    return [float(f"{value:.4g}") for value in (cosine, float((one - right).norm() / right.norm()))]


def sizes(ahead: Ahead, exact: Tensor) -> dict[str, float]:
    """Return lengths that tell how large things are."""
    point = ahead.point
    found = {
        "weights": float(point.weights.norm()),
        "training gradient": float(ahead.slope.norm()),
        "v": float(ahead.v.norm()),
        "hypergradient": float(exact.norm()),
        "second-order part": float((exact - ahead.direct).norm()),
        "training loss": float(point.train(point.weights, point.alphas).detach()),
        "looked-ahead loss": point.looked_ahead(point.alphas),
        "largest alpha": float(point.alphas.abs().max()),
    }
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def kinks(ahead: Ahead) -> dict[str, Any]:
    """Return how many kinks of the training loss lie between w - r v / |v| and w + r v / |v|, by r."""
    point, unit = ahead.point, ahead.v / ahead.v.norm()
    found = {}
    for length in LENGTHS:
        ends = [pattern(lambda at=end: point.train(at, point.alphas)) for end in ends_of(point.weights, unit, length)]
        found[f"{length:g}"] = crossed(*ends)
    return found


def ends_of(weights: Tensor, unit: Tensor, length: float) -> list[Tensor]:
    return [weights + side * length * unit for side in (1, -1)]


def commit() -> str:
    """Return the commit of the code, with a mark if files differ from it."""
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def load(path: Path) -> dict[str, Any]:
    rows: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return rows


def keep(path: Path, title: str, row: dict[str, Any], command: str) -> None:
    """Add a row to the file, which is whole at every moment; several programs may do so."""
    about = {"machine": machine(), "commit": commit(), "command": command}
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # until it is closed
        rows = load(path) | {title: {**about, **row}}
        fresh = path.with_suffix(".tmp")
        fresh.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in rows.items()) + "\n}\n")
        os.replace(fresh, path)
    finally:
        os.close(folder)
