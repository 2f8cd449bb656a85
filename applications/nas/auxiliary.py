"""The auxiliary head: a second classifier on a middle cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlo import ConfigError


class AuxiliaryHead(nn.Module):
    """A second classifier on a middle cell, whose loss helps to train the lower cells.

    ReLU, 5x5 mean pool to 2x2 pixels, 1x1 convolution to 128 channels, 2x2 convolution to 768, linear.

    Args:
        channels: Channels of the feature map.
        classes: Number of classes.
        stride: Stride of the pool: 3 for maps of 8x8 pixels, 2 for maps of 7x7.
        norm: Whether a normalization follows the second convolution, as it does the first.

    Source: "Going Deeper with Convolutions", Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich,
    2015, for the idea; the form is that of "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019.
    """

    def __init__(self, channels: int, classes: int, *, stride: int, norm: bool) -> None:
        """Build the layers."""
        super().__init__()
        self.side = 5 + stride
        self.pool = nn.AvgPool2d(5, stride, count_include_pad=False)
        layers: list[nn.Module] = [nn.Conv2d(channels, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU()]
        layers.append(nn.Conv2d(128, 768, 2, bias=False))
        if norm:
            layers.append(nn.BatchNorm2d(768))
        self.features = nn.Sequential(*layers, nn.ReLU())
        self.head = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (B, channels, side, side) to logits (B, classes).

        Raises:
            ConfigError: The feature map has another size, because the images do.
        """
        if tuple(x.shape[2:]) != (self.side, self.side):
            raise ConfigError(
                f"auxiliary=True: its head needs {self.side}x{self.side} feature maps, these images give "
                f"{x.shape[2]}x{x.shape[3]}; use auxiliary=False (--no-auxiliary), other images or other reductions"
            )
        features: Tensor = self.features(self.pool(torch.relu(x)))
        logits: Tensor = self.head(features.flatten(1))
        return logits
