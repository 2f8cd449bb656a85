"""The supernet: a network of search cells, which holds every architecture of a space at once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from applications.nas.networks.room import check_room
from applications.nas.objective import AbstractObjective, as_objective
from applications.nas.space.cell import BuildMixed, CellSpace, SearchCell
from applications.nas.space.mixed import MixedOperation
from applications.nas.space.skeleton import check_channels, plan_cells
from applications.nas.space.stem import AbstractStem, LargeStem, SmallStem

_MANY = 2**28  # weights: a gigabyte


class Encoder(nn.Module):
    """Everything of a supernet but its head: stem and cells.

    Args:
        space: The space of cells.
        stem: Makes the inputs of the first cell.
        channels: Channels of a node of the first cell.
        layers: Number of cells.
        reductions: Indices of the reduction cells; None for those at one and two thirds.
        mixed: Makes the mixed operation of an edge.
    """

    def __init__(
        self,
        space: CellSpace,
        stem: AbstractStem,
        channels: int,
        layers: int,
        *,
        reductions: tuple[int, ...] | None,
        mixed: BuildMixed,
    ) -> None:
        """Plan the cells and build them."""
        super().__init__()
        inputs, multipliers = (stem.channels, stem.channels), (space.nodes, space.nodes)
        plans = plan_cells(
            inputs, channels, layers, multipliers=multipliers, reductions=reductions, after_reduction=stem.halved
        )
        self.kinds = tuple(plan.kind for plan in plans)
        self.outputs = plans[-1].outputs
        self.stem = stem
        cells = [SearchCell(space, plan, mixed) for plan in plans]
        self.columns = cells[0].columns
        self.cells = nn.ModuleList(cells)

    def forward(self, x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Map images (B, in_channels, H, W) to features (B, outputs, h, w), where each reduction halves H and W."""
        older, newer = self.stem(x)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            older, newer = newer, cell(older, newer, weights[kind])
        features: Tensor = newer
        return features


def _may_be_large(space: CellSpace, channels: int, layers: int) -> bool:
    """Tell whether the weights might take much memory: more than all operations would if each were the largest one."""
    width = 4 * channels  # of the cells behind two reductions
    return layers * space.edges * space.operations * (14 * width**2 + 98 * width) > _MANY


class Supernet(nn.Module):
    """A network whose cells mix all operations by weights that come with each call.

    The architecture is no part of this module: it has neither parameters nor buffers for it, and it does not know how
    the mixing weights were made. All cells of a type share one table of them. Parameters live under two prefixes,
    `encoder.` (stem and cells) and `head.`, so that tasks of different kinds can share or tie the first and keep the
    second.

    Args:
        space: The space of cells.
        channels: Channels of a node of the first cell.
        layers: Number of cells.
        objective: What the task asks for, which decides the head; a number of classes stands for a classification.
        mixed: Makes the mixed operation of an edge from names, channels and stride.
        stem_multiplier: Channels of the stem's output, as a multiple of `channels`.
        reductions: Indices of the reduction cells, which halve height and width and double the channels; None for
            those at one and two thirds of the depth.
        in_channels: Channels of the images.
        large: Whether the images are large, so that the stem reduces them eightfold.

    Raises:
        ConfigError: A number is not positive, a reduction is out of range, or the machine has too little memory.

    Source: "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019.
    """

    def __init__(
        self,
        space: CellSpace,
        channels: int,
        layers: int,
        objective: AbstractObjective | int,
        *,
        mixed: BuildMixed = MixedOperation,
        stem_multiplier: int = 3,
        reductions: tuple[int, ...] | None = None,
        in_channels: int = 3,
        large: bool = False,
    ) -> None:
        """Build the encoder and the head."""
        super().__init__()
        check_channels(channels)
        if _may_be_large(space, channels, layers) and torch.get_default_device().type != "meta":
            with torch.device("meta"):
                check_room(
                    Supernet(
                        space,
                        channels,
                        layers,
                        objective,
                        mixed=mixed,
                        stem_multiplier=stem_multiplier,
                        reductions=reductions,
                        in_channels=in_channels,
                        large=large,
                    )
                )
        asked = as_objective(objective)
        self.space = space
        stem = (LargeStem if large else SmallStem)(in_channels, stem_multiplier * channels)
        self.encoder = Encoder(space, stem, channels, layers, reductions=reductions, mixed=mixed)
        self.head = asked.head(self.encoder.outputs)

    def forward(self, x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Predict with the architecture that the mixing weights describe.

        Args:
            x: Images, (B, in_channels, H, W). Every reduction needs an even height and width.
            weights: Mixing weights under "normal" and "reduction", both (edges, columns). They are used as they are: a
                softmax, or whatever else makes them, is the caller's.

        Returns:
            What the objective's head makes of the features; for a classification logits, (B, classes).

        Raises:
            ConfigError: The tables of weights do not fit the space, or the images are too small.
        """
        self.space.check(weights, self.encoder.columns)
        prediction: Tensor = self.head(self.encoder(x, weights))
        return prediction
