"""Depthwise convolution with derivatives of every order by the kernels that a CPU is fast at.

The convolution y = x * w, its derivative in x and its derivative in w are three bilinear maps, and the derivatives of
each are the other two: three functions are all that is needed.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from applications.nas.networks.batched.kernels import Form, convolve, in_input, in_weight
from applications.nas.networks.batched.precision import at_precision
from applications.nas.networks.batched.signature import remembered


def depthwise(x: Tensor, weight: Tensor, form: Form) -> Tensor:
    """Convolve each channel with a kernel of its own.

    Args:
        x: (B, channels, H, W).
        weight: (channels, 1, kernel, kernel).
        form: Kernel, stride and dilation.

    Returns:
        (B, channels, H/stride, W/stride), rounded up.
    """
    if x.device.type != "cpu":  # the library's own derivatives
        return convolve(x, weight, form)
    return _apply(_Convolve, *at_precision(x, weight), form)


def _apply(function: type[torch.autograd.Function], *args: object) -> Tensor:
    return cast(Tensor, function.apply(*args))


class _Convolve(torch.autograd.Function):
    """The output y, of x and w."""

    generate_vmap_rule = True

    @staticmethod
    @remembered
    def forward(x: Tensor, weight: Tensor, form: Form) -> Tensor:
        return convolve(x, weight, form)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Form], output: Tensor) -> None:
        x, weight, ctx.form = inputs
        ctx.size = tuple(x.shape[2:])
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight if ctx.needs_input_grad[0] else None)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        x, weight = ctx.saved_tensors
        to_x = _apply(_InInput, grads[0], weight, ctx.form, ctx.size) if ctx.needs_input_grad[0] else None
        to_weight = _apply(_InWeight, x, grads[0], ctx.form) if ctx.needs_input_grad[1] else None
        return to_x, to_weight, None


class _InInput(torch.autograd.Function):
    """The derivative in x, of the one in y and of w."""

    generate_vmap_rule = True

    @staticmethod
    @remembered
    def forward(grad: Tensor, weight: Tensor, form: Form, size: tuple[int, int]) -> Tensor:
        return in_input(grad, weight, form, size)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Form, tuple[int, int]], output: Tensor) -> None:
        grad, weight, ctx.form, _ = inputs
        ctx.save_for_backward(grad if ctx.needs_input_grad[1] else None, weight if ctx.needs_input_grad[0] else None)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        grad, weight = ctx.saved_tensors
        to_grad = _apply(_Convolve, grads[0], weight, ctx.form) if ctx.needs_input_grad[0] else None
        to_weight = _apply(_InWeight, grads[0], grad, ctx.form) if ctx.needs_input_grad[1] else None
        return to_grad, to_weight, None, None


class _InWeight(torch.autograd.Function):
    """The derivative in w, of x and of the one in y."""

    generate_vmap_rule = True

    @staticmethod
    @remembered
    def forward(x: Tensor, grad: Tensor, form: Form) -> Tensor:
        return in_weight(x, grad, form)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Form], output: Tensor) -> None:
        x, grad, ctx.form = inputs
        ctx.size = tuple(x.shape[2:])
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, grad if ctx.needs_input_grad[0] else None)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        x, grad = ctx.saved_tensors
        to_x = _apply(_InInput, grad, grads[0], ctx.form, ctx.size) if ctx.needs_input_grad[0] else None
        to_grad = _apply(_Convolve, x, grads[0], ctx.form) if ctx.needs_input_grad[1] else None
        return to_x, to_grad, None
