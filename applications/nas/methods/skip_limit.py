"""The derivation of P-DARTS: one operation an edge, two edges a node, and a limit on skip connections.

Source: "Progressive Differentiable Architecture Search: Bridging the Depth Gap between Search and Evaluation", Chen,
Xie, Wu, Tian, 2019, section 3.3.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from applications.nas.methods.derivation import strongest
from applications.nas.space.cell import CellSpace
from applications.nas.space.genotype import Cell, Edge

SKIP = "skip_connect"
log = logging.getLogger("mlo.nas")


def limited_cell(
    weights: Sequence[Sequence[float]], choices: Sequence[tuple[str, ...]], space: CellSpace, skips: int | None
) -> Cell:
    """Choose a cell.

    Every edge keeps its heaviest operation other than "none"; every node its two edges whose kept operation is
    heaviest, in the order of their predecessors; of equals the later one. While there are more skips than allowed, the
    lightest of those in the cell (of equals the earlier one) loses its weight, and the choice is made again.

    Args:
        weights: (edges, operations), as after the last stage.
        choices: The operations of each edge.
        space: The space of cells.
        skips: Most skip connections, or None for no limit.

    Returns:
        The cell. It may hold more skips than allowed if an edge had nothing else to offer; a warning says so.
    """
    rows = [list(row) for row in weights]
    while True:
        kept = _two_edges_a_node(rows, choices, space)
        active = [row for row, name in kept.items() if name == SKIP]
        if skips is None or len(active) <= skips:
            break
        lightest = min(active, key=lambda row: rows[row][choices[row].index(SKIP)])
        if rows[lightest][choices[lightest].index(SKIP)] == 0.0:
            log.warning("P-DARTS: %d skip connections stay, %d allowed: edges have nothing else", len(active), skips)
            break
        rows[lightest][choices[lightest].index(SKIP)] = 0.0
    edges = tuple(Edge(name, space.rows[row][1]) for row, name in sorted(kept.items()))
    return Cell(edges, tuple(range(2, space.nodes + 2)))


def _two_edges_a_node(
    rows: Sequence[list[float]], choices: Sequence[tuple[str, ...]], space: CellSpace
) -> dict[int, str]:
    """Return the operation of each edge of the cell, by row."""
    # From behind, so that of equals the later one stays, as where the lightest are dropped one by one.
    best = [strongest(row[::-1], names[::-1]) for row, names in zip(rows, choices, strict=True)]
    kept: dict[int, str] = {}
    for node in range(2, space.nodes + 2):
        incoming = [row for row, (target, _) in enumerate(space.rows) if target == node]
        for row in sorted(incoming, key=lambda row: best[row][0])[-2:]:
            kept[row] = best[row][1]
    return kept
