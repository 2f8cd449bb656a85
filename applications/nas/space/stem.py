"""Stems: what brings images to the two inputs of the first cell, in search and final networks alike."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from mlo import ConfigError


class AbstractStem(nn.Module, ABC):
    """Makes the two inputs of the first cell.

    Attributes:
        channels: Channels of both.
        halved: Whether the first is twice as high and wide as the second.
    """

    channels: int
    halved: bool

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, in_channels, H, W) to the older and the newer input."""


class SmallStem(AbstractStem):
    """One 3x3 convolution that keeps the size; both inputs are the same. For images of some 32x32 pixels.

    Args:
        in_channels: Channels of the images.
        channels: Channels of the result.

    Raises:
        ConfigError: A number of channels is not positive.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        """Build the convolution."""
        super().__init__()
        _check(in_channels, channels)
        self.channels, self.halved = channels, False
        convolution = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.convolution = nn.Sequential(convolution, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return one state (B, channels, H, W), twice."""
        state = self.convolution(x)
        return state, state


class LargeStem(AbstractStem):
    """Three 3x3 convolutions of stride 2: a quarter of height and width, then an eighth. For images of 224x224 pixels.

    Args:
        in_channels: Channels of the images.
        channels: Channels of the result, an even number; the first convolution makes half of them.

    Raises:
        ConfigError: A number of channels is not positive, or that of the result is odd.

    Source: "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019, for final networks; for a search
    "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", Xu, Xie, Zhang, Chen, Qi,
    Tian, Xiong, 2020, section 4.3.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        """Build the convolutions."""
        super().__init__()
        _check(in_channels, channels)
        if channels % 2:
            raise ConfigError(
                f"stem of {channels} channels: the large one begins with half of them; use an even number of channels"
            )
        self.channels, self.halved = channels, True
        half = channels // 2
        self.quarter = nn.Sequential(*_halve(in_channels, half), nn.ReLU(), *_halve(half, channels))
        self.eighth = nn.Sequential(nn.ReLU(), *_halve(channels, channels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return states of H/4 x W/4 and H/8 x W/8, both with `channels` channels."""
        older = self.quarter(x)
        return older, self.eighth(older)


def _check(in_channels: int, channels: int) -> None:
    if in_channels < 1 or channels < 1:
        raise ConfigError(f"stem from {in_channels} to {channels} channels: both must be positive")


def _halve(inputs: int, outputs: int) -> list[nn.Module]:
    """List a 3x3 convolution of stride 2 and its normalization."""
    return [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs)]
