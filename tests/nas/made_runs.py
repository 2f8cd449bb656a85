"""Folders of runs with numbers that a test chooses, written as searches and retrainings write them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from applications.nas.config_file import to_json
from applications.nas.presets import RETRAIN, SEARCH
from applications.nas.settings import RetrainSettings, SearchSettings
from applications.nas.space.zoo import ZOO

SETTINGS = SEARCH["digits"][1]
RETRAINED = RETRAIN["digits"][1]
Numbers = Mapping[str, Sequence[float]]


def made_search(folder: Path, settings: SearchSettings = SETTINGS, **changes: Any) -> Path:
    """Write a finished search; `changes` go into its results."""
    folder.mkdir(parents=True, exist_ok=True)
    results = {
        "kind": "search",
        "method": "DARTS-2nd",
        "formulation": "interleaving",
        "tasks": ["digits", "loops"],
        "seed": settings.seed,
        "steps": 10,
        "gradients": 140,
        "seconds": 8640.0,
        "device": "cpu",
        "devices": 1,
        "skips": {"normal": 2, "reduction": 3},
    }
    (folder / "config.json").write_text(to_json(settings))
    (folder / "genotype.json").write_text(ZOO["DARTS_V2"].to_json() + f"seed {settings.seed}")
    (folder / "README.md").write_text("# A search")
    (folder / "results.json").write_text(json.dumps(results | changes))
    return folder


def made_retraining(
    folder: Path,
    errors: Numbers,
    *,
    search: Path | None = None,
    cell: str = "mine",
    settings: RetrainSettings = RETRAINED,
    genotype: str = "",
    **changes: Any,
) -> Path:
    """Write a finished retraining with the errors of each task, seed by seed; `changes` go into each training."""
    folder.mkdir(parents=True, exist_ok=True)
    trainings = [
        {
            "task": task,
            "metric": "error %",
            "seed": seed,
            "error": error,
            "top5": None,
            "parameters": 3_300_000,
            "multiply_adds": None,
            "seconds": 1.0,
            "tested": 10_000,
        }
        | changes
        for task, values in errors.items()
        for seed, error in enumerate(values)
    ]
    found = None if search is None else os.path.relpath(search, folder)
    results = {"kind": "retrain", "cell": cell, "search": found, "skips": 5, "trainings": trainings}
    own = "" if search is None else (search / "genotype.json").read_text()
    (folder / "config.json").write_text(to_json(settings))
    (folder / "genotype.json").write_text(genotype or own or cell)
    (folder / "results.json").write_text(json.dumps(results))
    return folder
