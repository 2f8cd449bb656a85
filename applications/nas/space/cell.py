"""The cell as a search sees it: a small graph in which every edge holds every operation at once, mixed by weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from applications.nas.space.operations import PRIMITIVES, check_operation, operation
from applications.nas.space.skeleton import CellPlan
from mlo import ConfigError

CELL_TYPES: tuple[str, str] = ("normal", "reduction")
"""The two cells of an architecture: the keys of every table of architecture variables or mixing weights."""


@dataclass(frozen=True)
class CellSpace:
    """The set of cells that can be chosen.

    A cell has two inputs, the outputs of the two cells before it, numbered 0 and 1, and `nodes` nodes, numbered from 2.
    Each node may read the inputs and all nodes before it.

    Attributes:
        nodes: Number of nodes.
        primitives: Operations that an edge may hold; their order is the order of columns in all tables.

    Raises:
        ConfigError: There is no node; or the primitives are unknown, repeated, or nothing but "none".

    Source: "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019.
    """

    nodes: int = 4
    primitives: tuple[str, ...] = PRIMITIVES

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.nodes < 1:
            raise ConfigError(f"nodes={self.nodes}: a cell needs at least one node")
        for name in self.primitives:
            check_operation(name)
            if self.primitives.count(name) > 1:
                raise ConfigError(f"primitives: {name!r} appears twice; name each operation once")
        if not self.candidates:
            raise ConfigError("primitives: nothing to choose from; name at least one operation other than 'none'")

    @property
    def candidates(self) -> tuple[str, ...]:
        """The primitives that a final cell may hold: all except "none"."""
        return tuple(name for name in self.primitives if name != "none")

    @property
    def edges(self) -> int:
        """Number of edges, that is, of rows in all tables."""
        return len(self.rows)

    @cached_property
    def rows(self) -> tuple[tuple[int, int], ...]:
        """The edges in the order of rows, each as (node, predecessor): by node from 2, then by predecessor from 0."""
        return tuple((node, source) for node in range(2, self.nodes + 2) for source in range(node))

    def check(self, tables: Mapping[str, Tensor]) -> None:
        """Check tables of architecture variables or of mixing weights against this space.

        Args:
            tables: Must hold "normal" and "reduction", both (edges, primitives), and nothing else.

        Raises:
            ConfigError: A key is missing or unknown, or a shape is wrong.
        """
        if set(tables) != set(CELL_TYPES):
            raise ConfigError(f"tables named {sorted(tables)}: exactly {list(CELL_TYPES)} are needed")
        expected = (self.edges, len(self.primitives))
        for name, table in tables.items():
            if tuple(table.shape) != expected:
                raise ConfigError(f"{name!r} has shape {tuple(table.shape)}; (edges, primitives) is {expected} here")


class MixedOperation(nn.Module):
    """An edge of a search: the sum of all operations, each times its mixing weight.

    Args:
        primitives: Names of the operations.
        channels: Channels of input and output.
        stride: 1, or 2 to halve height and width.
    """

    def __init__(self, primitives: Sequence[str], channels: int, stride: int) -> None:
        """Build every operation."""
        super().__init__()
        built = (operation(name, channels, stride, affine=False, pool_norm=True) for name in primitives)
        self.operations = nn.ModuleList(built)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Mix the operations.

        Args:
            x: The predecessor, (B, channels, H, W).
            weights: One mixing weight for each operation, (primitives,).

        Returns:
            The mixture, (B, channels, H/stride, W/stride).
        """
        # One unbind costs one node of the autograd graph; indexing would cost one for each operation.
        terms = [weight * op(x) for weight, op in zip(weights.unbind(), self.operations, strict=True)]
        return _total(terms)


class SearchCell(nn.Module):
    """A cell of a search: every node is the sum of the mixed edges from all its predecessors.

    Args:
        space: The space of cells.
        plan: The cell's place in the network. In a reduction cell the edges that leave an input have stride 2.
    """

    def __init__(self, space: CellSpace, plan: CellPlan) -> None:
        """Build the two preprocessors and one mixed operation for each row."""
        super().__init__()
        self.rows = space.rows
        self.older, self.newer = plan.preprocessors(affine=False)
        self.edges = nn.ModuleList(
            MixedOperation(space.primitives, plan.channels, 2 if plan.reduction and source < 2 else 1)
            for _, source in space.rows
        )

    def forward(self, older: Tensor, newer: Tensor, weights: Tensor) -> Tensor:
        """Compute the cell.

        Args:
            older: Output of the cell before the previous one, (B, plan.inputs[0], H, W), or (..., 2H, 2W) after a
                reduction.
            newer: Output of the previous cell, (B, plan.inputs[1], H, W).
            weights: Mixing weights, (edges, primitives).

        Returns:
            All nodes, concatenated along the channels: (B, nodes * channels, H, W), or half of H and W in a reduction.
        """
        states: list[Tensor] = [self.older(older), self.newer(newer)]
        arriving: dict[int, list[Tensor]] = {}
        for (node, source), edge, row in zip(self.rows, self.edges, weights.unbind(), strict=True):
            arriving.setdefault(node, []).append(edge(states[source], row))
            if source == node - 1:  # the last edge of this node, by the order of rows
                states.append(_total(arriving[node]))
        return torch.cat(states[2:], dim=1)


def _total(terms: Sequence[Tensor]) -> Tensor:
    """Add tensors from the first on; unlike `sum`, do not begin with a 0."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
