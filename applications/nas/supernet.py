"""The supernet: a network of search cells, which holds every architecture of a space at once."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from applications.nas.space.cell import CellSpace, SearchCell
from applications.nas.space.skeleton import plan_cells, small_stem
from mlo import ConfigError


class Encoder(nn.Module):
    """Everything of a supernet but its classifier: stem and cells.

    Args:
        space: The space of cells.
        channels: Channels of a node of the first cell.
        layers: Number of cells.
        stem_channels: Channels of the stem's output.
        reductions: Indices of the reduction cells; None for those at one and two thirds.
        in_channels: Channels of the images.
    """

    def __init__(
        self,
        space: CellSpace,
        channels: int,
        layers: int,
        *,
        stem_channels: int,
        reductions: tuple[int, ...] | None,
        in_channels: int,
    ) -> None:
        """Plan the cells and build them and the stem."""
        super().__init__()
        inputs, multipliers = (stem_channels, stem_channels), (space.nodes, space.nodes)
        plans = plan_cells(inputs, channels, layers, multipliers=multipliers, reductions=reductions)
        self.kinds = tuple("reduction" if plan.reduction else "normal" for plan in plans)
        self.outputs = plans[-1].outputs
        self.stem = small_stem(in_channels, stem_channels)
        self.cells = nn.ModuleList(SearchCell(space, plan) for plan in plans)

    def forward(self, x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Map images (B, in_channels, H, W) to features (B, outputs, h, w), where each reduction halves H and W."""
        older = newer = self.stem(x)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            older, newer = newer, cell(older, newer, weights[kind])
        features: Tensor = newer
        return features


class Supernet(nn.Module):
    """A classifier whose cells mix all operations by weights that come with each call.

    The architecture is no part of this module: it has neither parameters nor buffers for it, and it does not know how
    the mixing weights were made. All cells of a type share one table of them. Parameters live under two prefixes,
    `encoder.` (stem and cells) and `head.` (the linear classifier), so that tasks with different classes can share or
    tie the first and keep the second.

    Args:
        space: The space of cells.
        channels: Channels of a node of the first cell.
        layers: Number of cells.
        classes: Number of classes.
        stem_multiplier: Channels of the stem's output, as a multiple of `channels`.
        reductions: Indices of the reduction cells, which halve height and width and double the channels; None for
            those at one and two thirds of the depth.
        in_channels: Channels of the images.

    Raises:
        ConfigError: A number is not positive, or a reduction is out of range.

    Source: "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019.
    """

    def __init__(
        self,
        space: CellSpace,
        channels: int,
        layers: int,
        classes: int,
        *,
        stem_multiplier: int = 3,
        reductions: tuple[int, ...] | None = None,
        in_channels: int = 3,
    ) -> None:
        """Build the encoder and the classifier."""
        super().__init__()
        if classes < 1:
            raise ConfigError(f"classes={classes}: must be positive")
        stem_channels = stem_multiplier * channels
        self.space = space
        self.encoder = Encoder(
            space, channels, layers, stem_channels=stem_channels, reductions=reductions, in_channels=in_channels
        )
        self.head = nn.Linear(self.encoder.outputs, classes)

    def forward(self, x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Classify images with the architecture that the mixing weights describe.

        Args:
            x: Images, (B, in_channels, H, W). Every reduction needs an even height and width.
            weights: Mixing weights under "normal" and "reduction", both (edges, primitives). They are used as they
                are: a softmax, or whatever else makes them, is the caller's.

        Returns:
            Logits, (B, classes).

        Raises:
            ConfigError: The tables of weights do not fit the space, or the images are too small.
        """
        self.space.check(weights)
        features: Tensor = self.encoder(x, weights)
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits
