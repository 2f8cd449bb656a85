"""The final network for large images such as those of ImageNet: a stem that reduces eightfold before the first cell."""

from __future__ import annotations

from functools import partial

from applications.nas.auxiliary import AuxiliaryHead
from applications.nas.network import EvaluationNetwork
from applications.nas.objective import AbstractObjective
from applications.nas.space.genotype import Genotype
from applications.nas.space.skeleton import check_channels
from applications.nas.space.stem import LargeStem
from mlo import ConfigError


class ImageNetNetwork(EvaluationNetwork):
    """A final network for images of 224x224 pixels.

    The first input of the first cell is a quarter of the image's height and width, the second an eighth.

    Args:
        genotype: The architecture.
        channels: Channels of a node of the first cell, an even number.
        layers: Number of cells.
        objective: What the task asks for; a number of classes stands for a classification.
        auxiliary: Whether to have an auxiliary head, on cell `2 * layers // 3`; it needs 7x7 pixels there.
        auxiliary_norm: Whether that head has a normalization behind its second convolution. P-DARTS has it; DARTS and
            PC-DARTS do not.
        drop_path: Rate of drop path, in [0, 1); an attribute of the same name can be set anew before each epoch.
        in_channels: Channels of the images.
        reductions: Indices of the reduction cells; None for those at one and two thirds of the depth.

    Raises:
        ConfigError: A setting is out of range.

    Source: "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019. For `auxiliary_norm`: "Progressive
    Differentiable Architecture Search: Bridging the Depth Gap between Search and Evaluation", Chen, Xie, Wu, Tian,
    2019.
    """

    def __init__(
        self,
        genotype: Genotype,
        channels: int = 48,
        layers: int = 14,
        objective: AbstractObjective | int = 1000,
        *,
        auxiliary: bool = False,
        auxiliary_norm: bool = False,
        drop_path: float = 0.0,
        in_channels: int = 3,
        reductions: tuple[int, ...] | None = None,
    ) -> None:
        """Put the large stem before the cells."""
        check_channels(channels)
        if channels % 2:  # by the name of the setting, which the stem does not know
            raise ConfigError(f"channels={channels}: the stem begins with half of them; use an even number")
        head = partial(AuxiliaryHead, stride=2, norm=auxiliary_norm) if auxiliary else None
        stem = LargeStem(in_channels, channels)
        super().__init__(
            genotype, stem, channels, layers, objective, reductions=reductions, auxiliary=head, drop_path=drop_path
        )
