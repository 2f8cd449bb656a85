"""DARTS: one softmax over the operations of each edge, and the strongest edges and operations at the end.

Source: "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from applications.nas.space.cell import CELL_TYPES, CellSpace
from applications.nas.space.genotype import Cell, Edge, Genotype
from mlo import DataError


def initial_alphas(space: CellSpace, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw architecture variables close to zero, where all operations weigh nearly the same.

    Args:
        space: The space of cells.
        generator: Where the random numbers come from.

    Returns:
        "normal" and "reduction", both (edges, primitives), with entries 0.001 * N(0, 1).
    """
    shape = (space.edges, len(space.primitives))
    return {name: 1e-3 * torch.randn(shape, generator=generator, device=generator.device) for name in CELL_TYPES}


def softmax_relaxation(alphas: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn architecture variables into mixing weights: a softmax over the operations of each edge.

    Args:
        alphas: Tables (edges, primitives) by name.

    Returns:
        Tables of the same names and shapes; each row is positive and sums to 1.
    """
    return {name: table.softmax(dim=-1) for name, table in alphas.items()}


def derive(alphas: Mapping[str, Tensor], space: CellSpace) -> Genotype:
    """Choose the architecture that a search has found.

    An edge is as strong as its heaviest operation other than "none", which takes its share of the softmax but is never
    chosen. Each node keeps its two strongest edges, strongest first; of equals the one with the smaller index wins.

    Args:
        alphas: "normal" and "reduction", both (edges, primitives).
        space: The space that they were searched in.

    Returns:
        The genotype; its cells concatenate all nodes.

    Raises:
        ConfigError: The tables do not fit the space.
        DataError: A table holds NaN or infinity, so that no order exists.
    """
    space.check(alphas)
    cells = {name: _derive_cell(name, table, space) for name, table in alphas.items()}
    return Genotype(normal=cells["normal"], reduction=cells["reduction"])


def _derive_cell(name: str, table: Tensor, space: CellSpace) -> Cell:
    """Choose one cell from one table (edges, primitives)."""
    if not table.isfinite().all():
        raise DataError(f"alphas of the {name} cell hold NaN or infinity; the search diverged, lower its step sizes")
    weights = table.detach().softmax(dim=-1).tolist()
    incoming: dict[int, list[tuple[float, Edge]]] = {}
    for (node, source), row in zip(space.rows, weights, strict=True):
        strength, chosen = _strongest(row, space)
        incoming.setdefault(node, []).append((strength, Edge(chosen, source)))
    edges: list[Edge] = []
    for candidates in incoming.values():
        best = sorted(candidates, key=lambda pair: -pair[0])[:2]  # stable: equals stay in the order of predecessors
        edges += [edge for _, edge in best]
    return Cell(tuple(edges), tuple(range(2, space.nodes + 2)))


def _strongest(row: list[float], space: CellSpace) -> tuple[float, str]:
    """Return weight and name of the heaviest operation other than "none"; `max` keeps the first of equals."""
    choices = [(weight, name) for weight, name in zip(row, space.primitives, strict=True) if name != "none"]
    return max(choices, key=lambda pair: pair[0])
