"""PC-DARTS: operations on a part of the channels, and normalized edges.

Source: "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", Xu, Xie, Zhang, Chen, Qi,
Tian, Xiong, 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from applications.nas.methods.base import (
    AbstractMethod,
    Progress,
    Stage,
    Variables,
    initial_alphas,
    softmax_tables,
    warm_up_epochs,
)
from applications.nas.methods.derivation import one_hot
from applications.nas.space.cell import CELL_TYPES, CellSpace
from applications.nas.space.genotype import Genotype
from applications.nas.space.mixed import AbstractMixedOperation, PartialMixedOperation
from mlo import ConfigError


@dataclass(frozen=True)
class PCDarts(AbstractMethod):
    """PC-DARTS: partial channels, shuffled, and a softmax over the edges of each node."""

    title: ClassVar[str] = "PC-DARTS"

    portion: int = 4
    """K: operations see 1/K of the channels."""
    warm_up: float = 0.3
    """Share of the epochs, at the beginning, that train weights only: 15 of 50."""

    def __post_init__(self) -> None:
        """Check the range."""
        super().__post_init__()
        if self.portion < 1:
            raise ConfigError(f"method: portion must be at least 1, got {self.portion}")

    def stages(self, layers: int, channels: int, operations: int, epochs: int) -> tuple[Stage, ...]:
        """One stage."""
        return (Stage(layers, channels, operations, epochs, warm_up_epochs(self.warm_up, epochs)),)

    def initial(self, space: CellSpace, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw alphas, and for each type of cell one beta for each edge, all 0.001 * N(0, 1)."""
        alphas = initial_alphas(space, generator)
        betas = {_edges(name): 1e-3 * torch.randn(space.edges, generator=generator) for name in CELL_TYPES}
        return alphas | betas

    def relax(self, variables: Variables, progress: Progress) -> dict[str, Tensor]:
        """Return softmax(alpha) of each edge and, as the last column, softmax(beta) over the edges of its node."""
        tables = softmax_tables(variables)
        edges = {name: edge_weights(variables[_edges(name)]) for name in CELL_TYPES}
        return {name: torch.cat([tables[name], edges[name].unsqueeze(1)], dim=1) for name in CELL_TYPES}

    def mixed_operation(self, names: Sequence[str], channels: int, stride: int) -> AbstractMixedOperation:
        """Operations on the first 1/K of the channels."""
        return PartialMixedOperation(names, channels, stride, self.portion)

    def strengths(self, variables: Variables, space: CellSpace, progress: Progress) -> dict[str, Tensor]:
        """Return softmax(alpha) * softmax(beta)."""
        return {name: table[:, :-1] * table[:, -1:] for name, table in self.relax(variables, progress).items()}

    def discretize(self, genotype: Genotype, space: CellSpace) -> dict[str, Tensor]:
        """Weigh the chosen operation of each chosen edge by 1, and the two chosen edges of a node by 1/2."""
        tables = one_hot(genotype, space)
        return {name: torch.cat([table, 0.5 * table.sum(dim=1, keepdim=True)], dim=1) for name, table in tables.items()}


def edge_weights(betas: Tensor) -> Tensor:
    """Return the softmax over the edges of each node.

    Args:
        betas: (edges,), in the order of rows: two edges of the first node, three of the second, and so on.
    """
    parts: list[Tensor] = []
    start = 0
    while start < len(betas):
        size = len(parts) + 2
        parts.append(betas[start : start + size].softmax(dim=0))
        start += size
    return torch.cat(parts)


def _edges(name: str) -> str:
    return f"{name}_edges"
