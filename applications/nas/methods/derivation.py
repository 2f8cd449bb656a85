"""From the strengths of operations to cells, the rule that most methods share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from applications.nas.space.cell import CELL_TYPES, CellSpace
from applications.nas.space.genotype import Cell, Edge, Genotype
from mlo import DataError


def strongest_cells(strengths: Mapping[str, Tensor], space: CellSpace) -> Genotype:
    """Choose the two strongest edges of each node, and the strongest operation of each.

    An edge is as strong as its heaviest operation other than "none", which may take its share but is never chosen. The
    edges of a node are listed strongest first; of equals the one with the smaller index wins.

    Args:
        strengths: "normal" and "reduction", both (edges, operations); larger is stronger.
        space: The space that they were searched in.

    Returns:
        The genotype; its cells concatenate all nodes.

    Raises:
        ConfigError: The tables do not fit the space.
        DataError: A table holds NaN or infinity, so that no order exists; or an edge holds nothing but "none".

    Source: "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019, section 2.4.
    """
    space.check(strengths)
    cells = {name: _cell(name, table, space) for name, table in strengths.items()}
    return Genotype(normal=cells["normal"], reduction=cells["reduction"])


def one_hot(genotype: Genotype, space: CellSpace) -> dict[str, Tensor]:
    """Return tables that are 1 at the operations of a genotype and 0 elsewhere.

    Args:
        genotype: The architecture.
        space: A space that holds it.

    Returns:
        "normal" and "reduction", both (edges, operations).
    """
    found: dict[str, Tensor] = {}
    for name in CELL_TYPES:
        table = torch.zeros(space.edges, space.operations)
        for index, edge in enumerate(getattr(genotype, name).edges):
            row = space.rows.index((index // 2 + 2, edge.predecessor))
            table[row, space.choices[name][row].index(edge.operation)] = 1.0
        found[name] = table
    return found


def check_finite(name: str, table: Tensor) -> None:
    """Raise unless every entry of a cell's table is a number."""
    if not table.isfinite().all():
        raise DataError(f"alphas of the {name} cell hold NaN or infinity; the search diverged, lower its step sizes")


def _cell(name: str, table: Tensor, space: CellSpace) -> Cell:
    check_finite(name, table)
    incoming: dict[int, list[tuple[float, Edge]]] = {}
    for (node, source), names, row in zip(space.rows, space.choices[name], table.detach().tolist(), strict=True):
        strength, chosen = strongest(row, names)
        incoming.setdefault(node, []).append((strength, Edge(chosen, source)))
    edges: list[Edge] = []
    for candidates in incoming.values():
        best = sorted(candidates, key=lambda pair: -pair[0])[:2]  # stable: equals stay in the order of predecessors
        edges += [edge for _, edge in best]
    return Cell(tuple(edges), tuple(range(2, space.nodes + 2)))


def strongest(row: list[float], names: tuple[str, ...]) -> tuple[float, str]:
    """Return strength and name of the heaviest operation other than "none"; `max` keeps the first of equals."""
    choices = [(weight, name) for weight, name in zip(row, names, strict=True) if name != "none"]
    if not choices:
        raise DataError('an edge holds nothing but "none": keep more operations on each edge')
    return max(choices, key=lambda pair: pair[0])
