"""P-DARTS: deeper supernets and fewer operations from stage to stage, and a limit on skip connections.

Source: "Progressive Differentiable Architecture Search: Bridging the Depth Gap between Search and Evaluation", Chen,
Xie, Wu, Tian, 2019.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from applications.nas.methods.base import (
    AbstractMethod,
    Progress,
    Stage,
    Variables,
    softmax_tables,
    warm_up_epochs,
)
from applications.nas.methods.derivation import check_finite
from applications.nas.methods.skip_limit import limited_cell
from applications.nas.space.cell import CELL_TYPES, CellSpace
from applications.nas.space.genotype import Genotype
from applications.nas.space.mixed import AbstractMixedOperation, MixedOperation
from applications.nas.space.operations import Identity
from mlo import ConfigError

_MOST_CELLS = 1_000


@dataclass(frozen=True)
class PDarts(AbstractMethod):
    """P-DARTS: three stages, dropout behind skip connections, and at most two of them in the normal cell."""

    title: ClassVar[str] = "P-DARTS"

    deeper: tuple[int, ...] = (0, 6, 12)
    """Cells that each stage has beyond supernet.layers."""
    kept: tuple[float, ...] = (1.0, 0.625, 0.375)
    """Share of the primitives that each edge holds in each stage: 8, 5 and 3 of 8; at least two."""
    dropout: tuple[float, ...] = (0.0, 0.4, 0.7)
    """Rate of dropout behind skip connections of stride 1, at the start of each stage."""
    warm_up: float = 0.4
    """Share of the epochs of each stage, at its beginning, that train weights only: 10 of 25."""
    skips: int = 2
    """Most skip connections in the normal cell."""

    def __post_init__(self) -> None:
        """Check that there is one number for each stage, and its range."""
        super().__post_init__()
        counts = (len(self.deeper), len(self.kept), len(self.dropout))
        if not self.deeper or len(set(counts)) != 1:
            given = f"{counts[0]}, {counts[1]} and {counts[2]}"
            raise ConfigError(f"method: deeper, kept and dropout need one number for each stage, got {given}")
        if not all(0 <= rate < 1 for rate in self.dropout):
            raise ConfigError(f"method: dropout must be at least 0 and below 1, got {self.dropout}")
        shares = (1.0, *self.kept)
        if self.kept[0] != 1.0 or any(not 0 < after <= before for before, after in pairwise(shares)):
            raise ConfigError(f"method: kept must begin with 1 and fall, got {self.kept}")
        if max(self.deeper) > _MOST_CELLS:
            raise ConfigError(f"method: deeper must be at most {_MOST_CELLS}, got {self.deeper}")
        if min(self.deeper) < 0 or self.skips < 0:
            raise ConfigError(f"method: deeper and skips must not be negative, got {self.deeper} and {self.skips}")

    def stages(self, layers: int, channels: int, operations: int, epochs: int) -> tuple[Stage, ...]:
        """One stage for each entry of `deeper`."""
        least = min(2, operations)  # a single one could be "none"
        held = [max(least, round(share * operations)) for share in self.kept]
        resting = warm_up_epochs(self.warm_up, epochs)
        pairs = zip(self.deeper, held, strict=True)
        return tuple(Stage(layers + more, channels, count, epochs, resting) for more, count in pairs)

    def narrow(self, variables: Variables, space: CellSpace, operations: int) -> CellSpace:
        """Keep the heaviest operations of each edge, of both types of cell on their own."""
        choices = {}
        for name in CELL_TYPES:
            check_finite(name, variables[name])
            rows = zip(variables[name].detach().softmax(dim=-1).tolist(), space.choices[name], strict=True)
            choices[name] = tuple(_heaviest(row, names, operations) for row, names in rows)
        return space.narrow(choices)

    def relax(self, variables: Variables, progress: Progress) -> dict[str, Tensor]:
        """Return a softmax over the operations of each edge."""
        return softmax_tables(variables)

    def mixed_operation(self, names: Sequence[str], channels: int, stride: int) -> AbstractMixedOperation:
        """The weighted sum of all operations, with dropout behind the identity."""
        mixed = MixedOperation(names, channels, stride)
        for index, module in enumerate(mixed.operations):
            if isinstance(module, Identity):
                mixed.operations[index] = DroppedSkip()
        return mixed

    def begin_epoch(self, network: nn.Module, progress: Progress) -> None:
        """Set the rate of dropout behind skip connections."""
        resting = warm_up_epochs(self.warm_up, progress.epochs)
        rate = skip_dropout(self.dropout[progress.stage], progress, resting)
        for module in network.modules():
            if isinstance(module, DroppedSkip):
                module.rate = rate

    def derive(self, variables: Variables, space: CellSpace, progress: Progress) -> Genotype:
        """Choose one operation an edge and two edges a node, with at most `skips` skips in the normal cell."""
        space.check(variables)
        tables = self.strengths(variables, space, progress)
        for name, table in tables.items():
            check_finite(name, table)
        normal = limited_cell(tables["normal"].tolist(), space.choices["normal"], space, self.skips)
        reduction = limited_cell(tables["reduction"].tolist(), space.choices["reduction"], space, None)
        return Genotype(normal=normal, reduction=reduction)


def skip_dropout(start: float, progress: Progress, warm_up: int) -> float:
    """Return the rate of an epoch e of E: start (E - e - 1) / E in the warm-up, then start exp(-(e - warm_up) / 5)."""
    if progress.epoch < warm_up:
        return start * (progress.epochs - progress.epoch - 1) / progress.epochs
    return start * math.exp(-0.2 * (progress.epoch - warm_up))


class DroppedSkip(Identity):
    """The skip connection of stride 1 with dropout behind it, whose `rate` is set before each epoch."""

    rate: float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Return `x`; while training, with entries zeroed at random and the others scaled up."""
        return nn.functional.dropout(x, self.rate, self.training) if self.rate > 0 else x


def _heaviest(row: list[float], names: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return the names of the `count` heaviest operations in their old order; of equals the later ones are kept."""
    order = sorted(range(len(row)), key=lambda index: row[index])  # stable, lightest first
    kept = set(order[len(row) - count :])
    return tuple(name for index, name in enumerate(names) if index in kept)
