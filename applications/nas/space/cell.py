"""The cell as a search sees it: a small graph in which every edge holds every operation at once, mixed by weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from applications.nas.space.mixed import AbstractMixedOperation, total
from applications.nas.space.operations import PRIMITIVES, check_operation
from applications.nas.space.skeleton import CellPlan
from applications.nas.typed import check_types
from mlo import ConfigError

CELL_TYPES: tuple[str, str] = ("normal", "reduction")
"""The two cells of an architecture: the keys of every table of architecture variables or mixing weights."""

Choices = Mapping[str, tuple[tuple[str, ...], ...]]
"""For each type of cell, the operations that each edge may hold, in the order of rows."""

BuildMixed = Callable[[Sequence[str], int, int], AbstractMixedOperation]
"""Makes the mixed operation of an edge from its operations' names, its channels and its stride."""


@dataclass(frozen=True)
class CellSpace:
    """The set of cells that can be chosen.

    A cell has two inputs, the outputs of the two cells before it, numbered 0 and 1, and `nodes` nodes, numbered from 2.
    Each node may read the inputs and all nodes before it.

    Attributes:
        nodes: Number of nodes.
        primitives: Operations that an edge may hold; their order is the order of columns in all tables.
        kept: Where edges hold different operations: those of each edge of the normal and of the reduction cell, equally
            many on all. None for all primitives on every edge.

    Raises:
        ConfigError: There is no node; or the primitives are unknown, repeated, or nothing but "none"; or `kept` does
            not fit them.

    Source: "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019. For `kept`: "Progressive
    Differentiable Architecture Search: Bridging the Depth Gap between Search and Evaluation", Chen, Xie, Wu, Tian,
    2019.
    """

    nodes: int = 4
    primitives: tuple[str, ...] = PRIMITIVES
    kept: tuple[tuple[tuple[str, ...], ...], ...] | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        check_types("space", self)
        if self.nodes < 1:
            raise ConfigError(f"nodes={self.nodes}: a cell needs at least one node")
        for name in self.primitives:
            check_operation(name)
            if self.primitives.count(name) > 1:
                raise ConfigError(f"primitives: {name!r} appears twice; name each operation once")
        if not self.candidates:
            raise ConfigError("primitives: nothing to choose from; name at least one operation other than 'none'")
        if self.kept is not None:
            self._check_kept(self.kept)

    def _check_kept(self, kept: tuple[tuple[tuple[str, ...], ...], ...]) -> None:
        if len(kept) != len(CELL_TYPES) or any(len(cell) != self.edges for cell in kept):
            shape = [len(cell) for cell in kept]
            raise ConfigError(f"kept: operations for {shape} edges; {self.edges} of each type of cell are needed")
        edges = [edge for cell in kept for edge in cell]
        if len({len(edge) for edge in edges}) != 1 or not edges[0]:
            raise ConfigError("kept: every edge needs equally many operations, at least one")
        for edge in edges:
            if len(set(edge)) != len(edge) or not set(edge) <= set(self.primitives):
                raise ConfigError(f"kept: {edge} must be distinct ones of the primitives {', '.join(self.primitives)}")

    @property
    def candidates(self) -> tuple[str, ...]:
        """The primitives that a final cell may hold: all except "none"."""
        return tuple(name for name in self.primitives if name != "none")

    @property
    def edges(self) -> int:
        """Number of edges, that is, of rows in all tables."""
        return len(self.rows)

    @property
    def operations(self) -> int:
        """Number of operations of an edge, that is, of columns in all tables of architecture variables."""
        return len(self.kept[0][0]) if self.kept is not None else len(self.primitives)

    @cached_property
    def rows(self) -> tuple[tuple[int, int], ...]:
        """The edges in the order of rows, each as (node, predecessor): by node from 2, then by predecessor from 0."""
        return tuple((node, source) for node in range(2, self.nodes + 2) for source in range(node))

    @cached_property
    def choices(self) -> Choices:
        """The operations of each edge, by type of cell."""
        kept = self.kept if self.kept is not None else ((self.primitives,) * self.edges,) * len(CELL_TYPES)
        return dict(zip(CELL_TYPES, kept, strict=True))

    def narrow(self, choices: Choices) -> CellSpace:
        """Return the space in which each edge holds only these operations; columns follow their order."""
        return replace(self, kept=tuple(choices[name] for name in CELL_TYPES))

    def check(self, tables: Mapping[str, Tensor], columns: int | None = None) -> None:
        """Check tables of architecture variables or of mixing weights against this space.

        Args:
            tables: Must hold "normal" and "reduction", both (edges, columns), and nothing else.
            columns: How many there must be; None for one for each operation.

        Raises:
            ConfigError: A key is missing or unknown, or a shape is wrong.
        """
        if set(tables) != set(CELL_TYPES):
            raise ConfigError(f"tables named {sorted(tables)}: exactly {list(CELL_TYPES)} are needed")
        expected = (self.edges, self.operations if columns is None else columns)
        for name, table in tables.items():
            if tuple(table.shape) != expected:
                raise ConfigError(f"{name!r} has shape {tuple(table.shape)}; (edges, columns) is {expected} here")


class SearchCell(nn.Module):
    """A cell of a search: every node is the sum of the mixed edges from all its predecessors.

    Args:
        space: The space of cells.
        plan: The cell's place in the network. In a reduction cell the edges that leave an input have stride 2.
        mixed: Makes the mixed operation of an edge.

    Attributes:
        columns: How many mixing weights an edge takes.
    """

    def __init__(self, space: CellSpace, plan: CellPlan, mixed: BuildMixed) -> None:
        """Build the two preprocessors and one mixed operation for each row."""
        super().__init__()
        self.rows = space.rows
        self.older, self.newer = plan.preprocessors(affine=False)
        names = space.choices[plan.kind]
        edges = [
            mixed(chosen, plan.channels, 2 if plan.reduction and source < 2 else 1)
            for (_, source), chosen in zip(space.rows, names, strict=True)
        ]
        self.columns = edges[0].columns
        self.edges = nn.ModuleList(edges)

    def forward(self, older: Tensor, newer: Tensor, weights: Tensor) -> Tensor:
        """Compute the cell.

        Args:
            older: Output of the cell before the previous one, (B, plan.inputs[0], H, W), or (..., 2H, 2W) after a
                reduction.
            newer: Output of the previous cell, (B, plan.inputs[1], H, W).
            weights: Mixing weights, (edges, columns).

        Returns:
            All nodes, concatenated along the channels: (B, nodes * channels, H, W), or half of H and W in a reduction.
        """
        states: list[Tensor] = [self.older(older), self.newer(newer)]
        arriving: dict[int, list[Tensor]] = {}
        for (node, source), edge, row in zip(self.rows, self.edges, weights.unbind(), strict=True):
            arriving.setdefault(node, []).append(edge(states[source], row))
            if source == node - 1:  # the last edge of this node, by the order of rows
                states.append(total(arriving[node]))
        return torch.cat(states[2:], dim=1)
