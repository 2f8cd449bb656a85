"""The form of a final network. The cell is given apart: a form says how many, how wide, and what is around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, final

import tyro

from applications.nas.settings._check import MOST_CHANNELS, MOST_LAYERS, check
from applications.nas.typed import check_types


@final
@dataclass(frozen=True)
class CifarForm:
    """For small images: a stem that keeps their size."""

    channels: int = 36
    """Channels of a node of the first cell (C)."""
    layers: int = 20
    """Cells."""
    stem_multiplier: int = 3
    """Channels of the stem, as a multiple of C."""
    auxiliary: bool = False
    """Train with the auxiliary head (needs 32x32 images and a classification)."""

    def __post_init__(self) -> None:
        """Check what the network does not."""
        check_types("network", self)
        check("network", self, 1 <= self.channels <= MOST_CHANNELS, f"channels must be from 1 to {MOST_CHANNELS}")
        check("network", self, 1 <= self.layers <= MOST_LAYERS, f"layers must be from 1 to {MOST_LAYERS}")
        check("network", self, 1 <= self.stem_multiplier <= 1000, "stem_multiplier must be from 1 to 1000")


@final
@dataclass(frozen=True)
class ImageNetForm:
    """For large images: a stem that reduces them eightfold."""

    channels: int = 48
    """Channels of a node of the first cell (C), an even number."""
    layers: int = 14
    """Cells."""
    auxiliary: bool = False
    """Train with the auxiliary head (needs 224x224 images and a classification)."""
    auxiliary_norm: bool = False
    """Normalize behind the second convolution of that head: P-DARTS does, DARTS and PC-DARTS do not."""

    def __post_init__(self) -> None:
        """Check that nothing is asked for in vain."""
        check_types("network", self)
        check("network", self, 1 <= self.channels <= MOST_CHANNELS, f"channels must be from 1 to {MOST_CHANNELS}")
        check("network", self, 1 <= self.layers <= MOST_LAYERS, f"layers must be from 1 to {MOST_LAYERS}")
        fits = self.auxiliary or not self.auxiliary_norm
        check("network", self, fits, "auxiliary must be on for auxiliary_norm")


@final
@dataclass(frozen=True)
class TorchvisionForm:
    """A network made by hand, from torchvision.models, trained from scratch: it has no cell."""

    model: str = ""
    """Its name there, such as resnet18; `--cell torchvision:resnet18` says the same."""
    stem: Literal["original", "small"] = "original"
    """The model's own stem; or, for a ResNet, a 3x3 convolution of stride 1 without a pool, for small images."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_types("network", self)


NetworkForm = (
    Annotated[CifarForm, tyro.conf.subcommand("network:cifar", prefix_name=False)]
    | Annotated[ImageNetForm, tyro.conf.subcommand("network:imagenet", prefix_name=False)]
    | Annotated[TorchvisionForm, tyro.conf.subcommand("network:torchvision", prefix_name=False)]
)
