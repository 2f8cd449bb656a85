"""The cell after each epoch of a search: how it is kept, written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from applications.nas.files import read_json, write_json
from applications.nas.space.cell import CELL_TYPES
from applications.nas.space.genotype import Genotype
from applications.nas.space.mixture import Mixture
from mlo import DataError

GENOTYPES = "genotypes.json"
_KEYS = ("stage", "epoch", "skips", "cell", "genotype", "alphas")


@dataclass(frozen=True)
class Snapshot:
    """What a search would give if it ended after an epoch.

    Attributes:
        epoch: From 1, in its stage.
        genotype: The cell.
        stage: From 1, of a method that has several.
        alphas: The architecture variables, plain lists of numbers by name.
        weights: The mixing weights that they make, by cell type, edge and operation; empty if they were not kept.
        gap: The discretization gap, if it was measured.
        eigenvalue: The largest one of the Hessian in the architecture variables, if it was measured.
    """

    epoch: int
    genotype: Genotype
    stage: int = 1
    alphas: Mapping[str, Any] = field(default_factory=dict)
    weights: Mixture = field(default_factory=dict)
    gap: float | None = None
    eigenvalue: float | None = None

    @property
    def skips(self) -> dict[str, int]:
        """How many skip connections each cell has."""
        return count_skips(self.genotype)


def count_skips(genotype: Genotype) -> dict[str, int]:
    """Return the number of skip connections by cell type; many of them are the sign of a collapsed search."""
    cells = {name: getattr(genotype, name) for name in CELL_TYPES}
    return {name: sum(edge.operation == "skip_connect" for edge in cell.edges) for name, cell in cells.items()}


class History:
    """The snapshots of a search, on disk as soon as they are added.

    Args:
        folder: Folder of the run.
        kept: Go on with the history of a run that was stopped, after so many snapshots.

    Raises:
        DataError: If there are not as many.
    """

    def __init__(self, folder: Path, *, kept: int = 0) -> None:
        """Begin without any, or with those that are kept."""
        self._file = folder / GENOTYPES
        self._plain: list[dict[str, Any]] = []
        self.snapshots: list[Snapshot] = []
        if kept:
            self.snapshots = list(read_history(folder)[:kept])
            self._plain = read_json(self._file, "search again")[:kept]
        if len(self._plain) < kept:
            raise DataError(f"{self._file}: holds {len(self._plain)} epochs, and {kept} are done: search again")

    def add(
        self,
        epoch: int,
        genotype: Genotype,
        *,
        stage: int = 1,
        alphas: Mapping[str, Tensor] | None = None,
        weights: Mixture | None = None,
        gap: float | None = None,
        eigenvalue: float | None = None,
    ) -> Snapshot:
        """Append the cell after an epoch.

        Args:
            epoch: From 1, in its stage.
            genotype: The cell.
            stage: From 1.
            alphas: The architecture variables.
            weights: The mixing weights that they make; pictures over time are drawn of them.
            gap: The discretization gap, if it was measured.
            eigenvalue: The largest one of the Hessian, if it was measured.

        Returns:
            What was added.

        Raises:
            DataError: If the file cannot be written.
        """
        plain = {name: table.detach().cpu().tolist() for name, table in (alphas or {}).items()}
        snapshot = Snapshot(epoch, genotype, stage, plain, weights or {}, gap, eigenvalue)
        self.snapshots.append(snapshot)
        self._plain.append(_plain(snapshot))
        write_json(self._file, self._plain)
        return snapshot


def read_history(folder: Path) -> tuple[Snapshot, ...]:
    """Read what `History` wrote.

    Args:
        folder: Folder of a run.

    Returns:
        The snapshots, in order.

    Raises:
        DataError: If the file is missing, cut off, or holds something else; the message names it.
    """
    file = folder / GENOTYPES
    content = read_json(file, "it is cut off or no history; take another run, or search again")
    if not isinstance(content, list):
        raise DataError(f"{file}: must hold a list, one entry for each epoch; search again to make one")
    return tuple(_read(entry, f"{file}: entry {number}") for number, entry in enumerate(content))


def _plain(snapshot: Snapshot) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "stage": snapshot.stage,
        "epoch": snapshot.epoch,
        "skips": snapshot.skips,
        "cell": str(snapshot.genotype),
        "genotype": snapshot.genotype.to_plain(),
        "alphas": snapshot.alphas,
        "gap": snapshot.gap,
        "eigenvalue": snapshot.eigenvalue,
    }
    rounded = {
        kind: [{name: float(f"{weight:.6g}") for name, weight in edge.items()} for edge in edges]
        for kind, edges in snapshot.weights.items()
    }
    return {**entry, "weights": rounded} if rounded else entry


def _read(entry: Any, where: str) -> Snapshot:
    missing = [key for key in _KEYS if key not in entry] if isinstance(entry, dict) else list(_KEYS)
    if missing:
        raise DataError(f"{where}: lacks {', '.join(missing)}; this version writes another history: search again")
    numbers = (entry["stage"], entry["epoch"])
    weights = entry.get("weights", {})
    if not all(type(number) is int for number in numbers) or not _are_weights(weights):
        raise DataError(f"{where}: stage, epoch or weights are not of their kind: search again to make a new history")
    try:
        genotype = Genotype.from_json(json.dumps(entry["genotype"]))
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    alphas = entry["alphas"] if isinstance(entry["alphas"], dict) else {}
    gap, eigenvalue = (_number(entry.get(key), f"{where}: {key}") for key in ("gap", "eigenvalue"))
    return Snapshot(entry["epoch"], genotype, entry["stage"], alphas, weights, gap, eigenvalue)


def _number(value: Any, where: str) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise DataError(f"{where}: must be a number or null, got {value!r}; search again to make a new history")
    return None if value is None else float(value)


def _are_weights(value: Any) -> bool:
    """Tell whether a value is a mixture: {cell type: [{operation: weight}]}."""
    if not isinstance(value, dict) or not all(isinstance(edges, list) and edges for edges in value.values()):
        return False
    rows: Sequence[Any] = [edge for edges in value.values() for edge in edges]
    named = all(isinstance(edge, dict) and edge for edge in rows)
    return named and all(isinstance(weight, int | float) for edge in rows for weight in edge.values())
