"""Mixing weights by name: of each cell type, of each edge, of each operation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from applications.nas.space.cell import CellSpace
from applications.nas.space.operations import OPERATIONS, PRIMITIVES
from mlo import DataError

Mixture = Mapping[str, Sequence[Mapping[str, float]]]
"""By cell type, for each edge in the order of rows: the weight of each operation that it still holds."""

Names = Sequence[str] | Sequence[Sequence[str]]
"""Operations of the columns of a table: the same for all edges, or for each edge its own."""


def named_weights(tables: Mapping[str, Tensor], primitives: Sequence[str] | Mapping[str, Names]) -> Mixture:
    """Name the entries of tables of mixing weights.

    Args:
        tables: By cell type, weights (edges, operations), floating point.
        primitives: Names of the columns; or, by cell type, for each edge the names of its own operations, where a
            method has taken some away.

    Returns:
        The weights by name. An operation that an edge no longer holds is missing there, which counts as 0.

    Raises:
        DataError: If there is no table, or one does not have a name for each entry.
    """
    if not tables:
        raise DataError("no mixing weights are given: give at least one table")
    found: dict[str, list[dict[str, float]]] = {}
    for kind, table in tables.items():
        names = primitives[kind] if isinstance(primitives, Mapping) else primitives
        found[kind] = _name_rows(kind, table, names)
    return found


def _name_rows(kind: str, table: Tensor, names: Names) -> list[dict[str, float]]:
    common = [name for name in names if isinstance(name, str)]
    edges = table.shape[0] if table.ndim else 0
    choices = [common] * edges if common else [list(choice) for choice in names]
    fits = table.ndim == 2 and edges == len(choices) and all(len(choice) == table.shape[1] for choice in choices)
    if not fits or any(len(set(choice)) < len(choice) for choice in choices):
        counts = sorted({len(choice) for choice in choices}) or [len(names)]
        raise DataError(
            f"{kind}: a table {tuple(table.shape)} for {len(choices)} edges with {counts} operations: give one row for "
            "each edge, one column for each operation, and each name once"
        )
    values = table.detach().double().cpu().tolist()
    return [dict(zip(choice, row, strict=True)) for choice, row in zip(choices, values, strict=True)]


def operations_of(mixture: Mixture) -> tuple[str, ...]:
    """Return every operation that occurs in a mixture, in the usual order; those without one come last."""
    return in_order(name for edges in mixture.values() for edge in edges for name in edge)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of operations, each once, in the usual order; those without one come last, as they came."""
    found = dict.fromkeys(names)
    usual = (*PRIMITIVES, *(name for name in OPERATIONS if name not in PRIMITIVES))
    return (*(name for name in usual if name in found), *(name for name in found if name not in usual))


def mean_weights(edges: Sequence[Mapping[str, float]], operations: Sequence[str]) -> list[float]:
    """Return the weight of each operation, averaged over all edges; where an edge lacks it, it counts as 0."""
    return [sum(edge.get(name, 0.0) for edge in edges) / len(edges) for name in operations]


def edge_names(edges: int) -> list[str]:
    """Return names for the rows of a table, such as "0 to 2"; their numbers if no cell has so many edges."""
    nodes = 1
    while CellSpace(nodes).edges < edges:
        nodes += 1
    space = CellSpace(nodes)
    if space.edges != edges:
        return [str(row) for row in range(edges)]
    return [f"{source} to {node}" for node, source in space.rows]
