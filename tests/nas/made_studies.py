"""Studies with numbers that a test chooses: searches with retrainings on one task, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from applications.nas.report.claims import Claim
from applications.nas.report.evidence import Evidence, weigh
from applications.nas.report.read import find_runs
from applications.nas.report.table import make_tables
from applications.nas.settings import Formulation, Interleaving, MultiTask, SingleTask
from tests.nas.made_runs import RETRAINED, SETTINGS, made_retraining, made_search

TASKS = ["cifar100-mini", "cifar10-mini"]
NAMES = {SingleTask: "single", MultiTask: "multi", Interleaving: "interleaving"}
BETTER = Claim("one", "It is better.", "better", "CIFAR-10", "IL-DARTS-2nd", {}, "DARTS-2nd", {}, 1.0, None, "Here")


def made(
    root: Path, form: Formulation, errors: Mapping[int, Sequence[float]], *, retrain: Any = RETRAINED, **changes: Any
) -> None:
    """Write a search for each seed, with the errors of its retrainings on CIFAR-10."""
    tasks = changes.pop("tasks", TASKS)
    sizes = changes.pop("sizes", {})
    for seed, values in errors.items():
        folder = root / f"{len(list(root.iterdir()))}" if root.exists() else root / "0"
        settings = replace(SETTINGS, seed=seed, formulation=form)
        made_search(folder, settings, formulation=NAMES[type(form)], tasks=tasks, seconds=86400.0, **changes)
        size = sizes.get(seed, 3_300_000)
        made_retraining(
            folder / "r", {"cifar10-mini": values}, search=folder, settings=retrain, parameters=size, seconds=43200.0
        )


def weighed(root: Path, claims: Sequence[Claim] = ()) -> Evidence:
    found = find_runs([root])
    assert found.left_out == []
    return weigh(make_tables(found.retrained, []), claims)
