"""Derivatives of depthwise convolutions, put together from those that a CPU is fast at.

The library's derivatives are slow on a CPU where a kernel is dilated, or has more than three taps in a row (by 3 to 30
times, float32, channels last). All below are the same sums in another order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

_FAST = 3  # taps in a row of a kernel up to which the library is fast


@dataclass(frozen=True)
class Form:
    """A square depthwise convolution that keeps the size, up to the stride.

    Attributes:
        kernel: Taps in a row, an odd number.
        stride: 1, or 2 to halve height and width.
        dilation: Distance of taps.
    """

    kernel: int
    stride: int = 1
    dilation: int = 1

    @property
    def padding(self) -> int:
        """Zeros on each side."""
        return self.dilation * (self.kernel - 1) // 2


def convolve(x: Tensor, weight: Tensor, form: Form) -> Tensor:
    """Return y: x (B, C, H, W) with each channel convolved with its kernel, weight (C, 1, k, k)."""
    return conv2d(x, weight, None, form.stride, form.padding, form.dilation, x.shape[1])


def in_input(grad: Tensor, weight: Tensor, form: Form, size: tuple[int, int]) -> Tensor:
    """Return the derivative in x, of height and width `size`, from that in y."""
    if form.stride == 1:  # a convolution with the kernel turned around
        return convolve(grad, weight.flip(2, 3), form)
    shape = (*grad.shape[:2], *size)
    x = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last)
    return _library(grad, x, weight, form, (form.stride, form.stride), (form.padding, form.padding), 0)


def in_weight(x: Tensor, grad: Tensor, form: Form) -> Tensor:
    """Return the derivative in the weight from that in y."""
    even = x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0
    square = Form(form.kernel)
    if form.dilation == 2 and form.stride == 1 and even:  # every second pixel: four images without dilation
        return in_weight(_phases(x), _phases(grad), square)
    if form.dilation == 1 and form.stride == 1 and form.kernel > _FAST and x.shape[3] > form.padding:
        return _in_parts(x, grad, form)
    if form.dilation == 1 and form.stride == 2 and form.kernel == 5 and even:
        return _by_columns(x, grad, form)
    stride, padding = (form.stride, form.stride), (form.padding, form.padding)
    return _taps(x, grad, form, form.kernel, stride, padding)


def _in_parts(x: Tensor, grad: Tensor, form: Form) -> Tensor:
    """Take at most three columns of the kernel at a time."""
    parts = []
    for first in range(0, form.kernel, _FAST):
        width = min(_FAST, form.kernel - first)
        left = first - form.padding  # how far right of its pixel the first tap looks
        seen = pad(x, (-left, left + width - 1))  # a negative padding takes columns away
        parts.append(_taps(seen, grad, form, width, (1, 1), (form.padding, 0)))
    return torch.cat(parts, dim=3)


def _by_columns(x: Tensor, grad: Tensor, form: Form) -> Tensor:
    """With stride 2 and five taps: those in the middle and at the ends see even columns, the others odd ones."""
    even, odd = (_taps(x[..., place::2], grad, form, 3, (2, 1), (form.padding, 1)) for place in (0, 1))
    return torch.stack([even[..., 0], odd[..., 0], even[..., 1], odd[..., 1], even[..., 2]], dim=3)


def _taps(x: Tensor, grad: Tensor, form: Form, width: int, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    weight = grad.new_empty((x.shape[1], 1, form.kernel, width))
    return _library(grad, x, weight, form, stride, padding, 1)


def _library(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    form: Form,
    stride: tuple[int, int],
    padding: tuple[int, int],
    place: int,
) -> Tensor:
    """Return the library's derivative in x (place 0) or in the weight (place 1)."""
    dilation, mask = (form.dilation, form.dilation), [place == 0, place == 1, False]
    found = torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, dilation, False, (0, 0), x.shape[1], mask
    )
    part: Tensor = found[place]
    return part


def _phases(x: Tensor) -> Tensor:
    """Return the four grids of every second pixel as images: (B, C, H, W) to (4B, C, H/2, W/2), channels last."""
    batch, channels, height, width = x.shape
    grid = x.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, channels)
    split = grid.permute(2, 4, 0, 1, 3, 5).reshape(4 * batch, height // 2, width // 2, channels)
    return split.permute(0, 3, 1, 2)
