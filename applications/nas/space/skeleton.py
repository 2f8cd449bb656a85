"""The skeleton of a cell network: how many channels each cell has, and how a cell adapts its two inputs.

Search and final networks share it; they differ only in what a cell does between its inputs and its output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from applications.nas.space.operations import FactorizedReduce, ReLUConvBN
from mlo import ConfigError


@dataclass(frozen=True)
class CellPlan:
    """The place of one cell in a network.

    Attributes:
        inputs: Channels of the outputs of the cell before the previous one, and of the previous one.
        channels: Channels of every node of this cell.
        outputs: Channels of this cell's output, a concatenation of nodes.
        reduction: Whether the cell halves height and width.
        after_reduction: Whether the previous cell did, so that the older input is twice as high and wide.
    """

    inputs: tuple[int, int]
    channels: int
    outputs: int
    reduction: bool
    after_reduction: bool

    @property
    def kind(self) -> str:
        """The type of cell: "normal" or "reduction"."""
        return "reduction" if self.reduction else "normal"

    def preprocessors(self, *, affine: bool) -> tuple[nn.Module, nn.Module]:
        """Return the modules that bring the two inputs to this cell's channels, and to one size."""
        older, newer = self.inputs
        first: nn.Module
        if self.after_reduction:
            first = FactorizedReduce(older, self.channels, affine=affine)
        else:
            first = ReLUConvBN(older, self.channels, affine=affine)
        return first, ReLUConvBN(newer, self.channels, affine=affine)


def reduction_cells(layers: int, reductions: Sequence[int] | None = None) -> frozenset[int]:
    """Return which cells are reductions.

    Args:
        layers: Number of cells.
        reductions: Their indices; None for the customary ones, at one and at two thirds of the depth.

    Returns:
        The indices, as a set.

    Raises:
        ConfigError: There is no cell, or an index is out of range.
    """
    if layers < 1:
        raise ConfigError(f"layers={layers}: a network needs at least one cell")
    chosen = frozenset((layers // 3, 2 * layers // 3) if reductions is None else reductions)
    for index in sorted(chosen):
        if not 0 <= index < layers:
            raise ConfigError(f"reductions: cell {index} does not exist; with layers={layers} use 0 to {layers - 1}")
    return chosen


def check_channels(channels: int) -> None:
    """Refuse a network whose first cell has no channels.

    Raises:
        ConfigError: The number is not positive.
    """
    if channels < 1:
        raise ConfigError(f"channels={channels}: must be positive")


def plan_cells(
    inputs: tuple[int, int],
    channels: int,
    layers: int,
    *,
    multipliers: tuple[int, int],
    reductions: Sequence[int] | None = None,
    after_reduction: bool = False,
) -> list[CellPlan]:
    """Lay out the cells of a network; each reduction cell doubles the channels of itself and of those behind it.

    Args:
        inputs: Channels of the two inputs of the first cell.
        channels: Channels of a node of the first cell, before any doubling.
        layers: Number of cells.
        multipliers: How many nodes a normal and a reduction cell concatenate.
        reductions: Indices of the reduction cells; None for those at one and two thirds.
        after_reduction: Whether the first input is twice as high and wide as the second.

    Returns:
        One plan for each cell.

    Raises:
        ConfigError: `channels` is not positive, or `layers` or `reductions` is out of range.
    """
    check_channels(channels)
    chosen = reduction_cells(layers, reductions)
    plans: list[CellPlan] = []
    for index in range(layers):
        reduction = index in chosen
        channels = 2 * channels if reduction else channels
        outputs = channels * multipliers[reduction]
        plans.append(CellPlan(inputs, channels, outputs, reduction, after_reduction))
        inputs, after_reduction = (inputs[1], outputs), reduction
    return plans
