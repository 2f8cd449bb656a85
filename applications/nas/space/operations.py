"""The operations that an edge of a cell can hold, as modules on feature maps of a fixed number of channels.

All convolutions go without bias, since batch normalization follows them. `affine` tells whether that normalization has
a scale and a shift of its own: not while searching, where the scale would undo the mixing weight of the operation, but
in the final network. No activation works in place, because every operation of a mixed edge reads the same tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from mlo import ConfigError

PRIMITIVES: tuple[str, ...] = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""The searched operations. Their order is the order of the columns of every table of architecture variables."""


class Zero(nn.Module):
    """The absent edge: zeros, of the shape that a convolution with this stride would give.

    The zeros are fresh instead of a product with 0, so that NaN or infinity in the input does not pass.

    Args:
        stride: 1, or 2 to halve height and width.
    """

    def __init__(self, stride: int) -> None:
        """Keep the stride."""
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros shaped like every `stride`-th pixel of `x` (B, C, H, W)."""
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class Identity(nn.Module):
    """The skip connection of stride 1. A class of its own because drop path spares it."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` itself."""
        return x


class Pool(nn.Sequential):
    """A 3x3 pool that keeps the number of channels; pixels outside the map do not count in a mean.

    Args:
        kind: "max" or "avg".
        channels: Channels of the map.
        stride: 1, or 2 to halve height and width.
        norm: Whether a normalization without parameters follows. A search wants it, to give pools the scale of the
            convolutions that they compete with.
    """

    def __init__(self, kind: Literal["max", "avg"], channels: int, stride: int, *, norm: bool) -> None:
        """Build the pool and, if wanted, the normalization."""
        pool: nn.Module
        if kind == "max":
            pool = nn.MaxPool2d(3, stride, padding=1)
        else:
            pool = nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
        super().__init__(pool, *([nn.BatchNorm2d(channels, affine=False)] if norm else []))


class ReLUConvBN(nn.Sequential):
    """ReLU, 1x1 convolution from `inputs` to `outputs` channels, normalization: brings a cell's input to its width."""

    def __init__(self, inputs: int, outputs: int, *, affine: bool) -> None:
        """Build the three layers."""
        convolution = nn.Conv2d(inputs, outputs, 1, bias=False)
        super().__init__(nn.ReLU(), convolution, nn.BatchNorm2d(outputs, affine=affine))


class FactorizedReduce(nn.Module):
    """Halve height and width without losing pixels: two 1x1 convolutions of every other pixel, one shifted by one.

    Each convolution makes half of the output channels; their concatenation is normalized.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output, an even number.
        affine: Whether the normalization has parameters.

    Raises:
        ConfigError: `outputs` is odd; or, in `forward`, the height or the width is.
    """

    def __init__(self, inputs: int, outputs: int, *, affine: bool) -> None:
        """Build both convolutions and the normalization."""
        super().__init__()
        if outputs % 2:
            raise ConfigError(f"channels={outputs}: a skip of stride 2 makes them in two halves; use an even number")
        self.even = nn.Conv2d(inputs, outputs // 2, 1, bias=False)
        self.odd = nn.Conv2d(inputs, outputs // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H/2, W/2)."""
        check_even(x)
        x = torch.relu(x)
        # Every other pixel first, then a stride of 1: oneDNN's strided 1x1 convolution writes past its memory in the
        # backward pass, on a CPU with channels_last and few channels (uxlfoundation/oneDNN issue 6035).
        halves = [self.even(x[:, :, ::2, ::2]), self.odd(x[:, :, 1::2, 1::2])]
        out: Tensor = self.norm(torch.cat(halves, dim=1))
        return out


def check_even(x: Tensor) -> None:
    """Raise `ConfigError` unless a feature map (B, C, H, W) can be halved without losing pixels."""
    height, width = x.shape[2:]
    if height % 2 or width % 2:
        raise ConfigError(
            f"feature map of {height}x{width}: a reduction needs an even height and width; "
            "use larger images or fewer reduction cells"
        )


def _separable(channels: int, kernel: int, stride: int, dilation: int, affine: bool) -> list[nn.Module]:
    """List ReLU, depthwise convolution, pointwise convolution, normalization; the padding keeps the size."""
    padding = dilation * (kernel - 1) // 2
    return [
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    ]


class SepConv(nn.Sequential):
    """Two separable convolutions, one after the other; only the first has the stride.

    Source: "Xception: Deep Learning with Depthwise Separable Convolutions", Chollet, 2017, for the separation; applied
    twice as in "Learning Transferable Architectures for Scalable Image Recognition", Zoph, Vasudevan, Shlens, Le, 2018.
    """

    def __init__(self, channels: int, kernel: int, stride: int, *, affine: bool) -> None:
        """Build all eight layers."""
        first = _separable(channels, kernel, stride, 1, affine)
        super().__init__(*first, *_separable(channels, kernel, 1, 1, affine))


class DilConv(nn.Sequential):
    """One separable convolution whose depthwise part is dilated by 2, which nearly doubles the field that it sees."""

    def __init__(self, channels: int, kernel: int, stride: int, *, affine: bool) -> None:
        """Build the four layers."""
        super().__init__(*_separable(channels, kernel, stride, 2, affine))


class Conv7x1(nn.Sequential):
    """A dense 7x7 convolution in two factors: along each row (strides the width), then along each column."""

    def __init__(self, channels: int, stride: int, *, affine: bool) -> None:
        """Build the four layers."""
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels, channels, (1, 7), (1, stride), (0, 3), bias=False),
            nn.Conv2d(channels, channels, (7, 1), (stride, 1), (3, 0), bias=False),
            nn.BatchNorm2d(channels, affine=affine),
        )


def _skip(channels: int, stride: int, affine: bool) -> nn.Module:
    """Return the identity, or where it cannot be (stride 2) the nearest thing to it."""
    return Identity() if stride == 1 else FactorizedReduce(channels, channels, affine=affine)


_BUILDERS: Mapping[str, Callable[[int, int, bool, bool], nn.Module]] = {
    "none": lambda channels, stride, affine, norm: Zero(stride),
    "max_pool_3x3": lambda channels, stride, affine, norm: Pool("max", channels, stride, norm=norm),
    "avg_pool_3x3": lambda channels, stride, affine, norm: Pool("avg", channels, stride, norm=norm),
    "skip_connect": lambda channels, stride, affine, norm: _skip(channels, stride, affine),
    "sep_conv_3x3": lambda channels, stride, affine, norm: SepConv(channels, 3, stride, affine=affine),
    "sep_conv_5x5": lambda channels, stride, affine, norm: SepConv(channels, 5, stride, affine=affine),
    "dil_conv_3x3": lambda channels, stride, affine, norm: DilConv(channels, 3, stride, affine=affine),
    "dil_conv_5x5": lambda channels, stride, affine, norm: DilConv(channels, 5, stride, affine=affine),
    "sep_conv_7x7": lambda channels, stride, affine, norm: SepConv(channels, 7, stride, affine=affine),
    "conv_7x1_1x7": lambda channels, stride, affine, norm: Conv7x1(channels, stride, affine=affine),
}

OPERATIONS: tuple[str, ...] = tuple(_BUILDERS)
"""Every known operation: `PRIMITIVES`, then the two that only older published cells use."""


def check_operation(name: object) -> None:
    """Raise `ConfigError`, with the known names, unless `name` is one of `OPERATIONS`."""
    if name not in OPERATIONS:
        raise ConfigError(f"operation {name!r} is unknown; choose one of {', '.join(OPERATIONS)}")


def operation(name: str, channels: int, stride: int, *, affine: bool, pool_norm: bool = False) -> nn.Module:
    """Build one operation of an edge.

    Args:
        name: One of `OPERATIONS`.
        channels: Channels of input and output.
        stride: 1, or 2 to halve height and width.
        affine: Whether normalizations have parameters: False in a search, True in a final network.
        pool_norm: Whether pools are normalized (without parameters): True in a search, False in a final network.

    Returns:
        A module from (B, channels, H, W) to (B, channels, H/stride, W/stride).

    Raises:
        ConfigError: The name is unknown, the stride is neither 1 nor 2, or `channels` is not positive, or odd where a
            skip of stride 2 needs two halves.

    Source: "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019.
    """
    check_operation(name)
    if stride not in (1, 2):
        raise ConfigError(f"stride={stride}: an edge has stride 1 or 2")
    if channels < 1:
        raise ConfigError(f"channels={channels}: must be positive")
    return _BUILDERS[name](channels, stride, affine, pool_norm)
