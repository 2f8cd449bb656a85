"""Mixed operations: what an edge of a search computes from its operations and a row of mixing weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from applications.nas.space.operations import operation
from mlo import ConfigError


class AbstractMixedOperation(nn.Module, ABC):
    """An edge of a search."""

    @property
    @abstractmethod
    def columns(self) -> int:
        """How many mixing weights the edge takes: the columns of the tables that a relaxation makes."""

    @abstractmethod
    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Mix the operations.

        Args:
            x: The predecessor, (B, channels, H, W).
            weights: The edge's row of mixing weights, (columns,).

        Returns:
            The mixture, (B, channels, H/stride, W/stride).
        """


class MixedOperation(AbstractMixedOperation):
    """The sum of all operations, each times its mixing weight.

    Args:
        primitives: Names of the operations.
        channels: Channels of input and output.
        stride: 1, or 2 to halve height and width.

    Source: "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019, equation 2.
    """

    def __init__(self, primitives: Sequence[str], channels: int, stride: int) -> None:
        """Build every operation."""
        super().__init__()
        built = (operation(name, channels, stride, affine=False, pool_norm=True) for name in primitives)
        self.operations = nn.ModuleList(built)

    @property
    def columns(self) -> int:
        """One for each operation."""
        return len(self.operations)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Mix the operations; see the base class."""
        # One unbind costs one node of the autograd graph; indexing would cost one for each operation.
        return total([weight * op(x) for weight, op in zip(weights.unbind(), self.operations, strict=True)])


class PartialMixedOperation(AbstractMixedOperation):
    """Mix the operations on the first 1/K of the channels only; the others pass by, and all are shuffled.

    With mixture m, bypass p (the identity, or a 2x2 max pool of stride 2) and the edge's weight b, the last of its row:
    b * shuffle([m(x[: C/K]), p(x[C/K :])]), where shuffle lays K groups of channels into each other.

    Args:
        primitives: Names of the operations.
        channels: Channels C of input and output.
        stride: 1, or 2 to halve height and width.
        portion: K, which divides C.

    Raises:
        ConfigError: K does not divide the channels.

    Source: "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", Xu, Xie, Zhang, Chen, Qi,
    Tian, Xiong, 2020, equations 1 and 2.
    """

    def __init__(self, primitives: Sequence[str], channels: int, stride: int, portion: int) -> None:
        """Build every operation at the smaller width."""
        super().__init__()
        if channels % portion:
            raise ConfigError(f"channels={channels}: PC-DARTS mixes 1/{portion} of them: use a multiple of {portion}")
        self.portion, self.width = portion, channels // portion
        self.mixed = MixedOperation(primitives, self.width, stride)
        self.bypass: nn.Module = nn.MaxPool2d(2, 2) if stride == 2 else nn.Identity()

    @property
    def columns(self) -> int:
        """One for each operation, and one for the edge."""
        return self.mixed.columns + 1

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Mix the operations; see the base class."""
        mixed: Tensor = self.mixed(x[:, : self.width], weights[:-1])
        if self.portion == 1:  # nothing passes by, and a pool refuses no channels
            return weights[-1] * mixed
        joined = torch.cat([mixed, self.bypass(x[:, self.width :])], dim=1)
        batch, channels, height, width = joined.shape
        grouped = joined.view(batch, self.portion, channels // self.portion, height, width)
        return weights[-1] * grouped.transpose(1, 2).reshape(batch, channels, height, width)


def total(terms: Sequence[Tensor]) -> Tensor:
    """Add tensors from the first on; unlike `sum`, do not begin with a 0."""
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return result
