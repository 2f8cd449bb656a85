"""A pointwise convolution with normalization, which keeps only its input for the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d

from applications.nas.networks.batched.precision import at_precision
from applications.nas.networks.batched.signature import remembered

MOMENTUM, EPSILON = 0.1, 1e-5  # those of torch.nn.BatchNorm2d

_aten = torch.ops.aten


def normed(x: Tensor, weight: Tensor, scale: Tensor | None, mean: Tensor, var: Tensor, *, training: bool) -> Tensor:
    """Map channels by a matrix for each group of them, normalize each channel of the result, and scale it.

    Args:
        x: (B, groups * C, H, W).
        weight: (groups * C, C, 1, 1).
        scale: (groups * C,), or None for 1.
        mean: Remembered means, (groups * C,); moved in training.
        var: Remembered variances, likewise.
        training: Whether to normalize by the batch.

    Returns:
        (B, groups * C, H, W).
    """
    if training:
        out: Tensor = _Normed.apply(*at_precision(x, weight), scale, mean, var)[0]  # type: ignore[no-untyped-call]
        return out
    return batch_norm(_mapped(x, weight), mean, var, scale, None, False, MOMENTUM, EPSILON)


class _Normed(torch.autograd.Function):
    """Result, means and inverse deviations. The convolution is computed anew in the backward pass.

    There it is little work, and its result would take as much memory as the input that is kept anyway.
    """

    @staticmethod
    @remembered
    def forward(
        x: Tensor, weight: Tensor, scale: Tensor | None, mean: Tensor, var: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        found: tuple[Tensor, Tensor, Tensor] = torch.native_batch_norm(
            _mapped(x, weight), scale, None, mean, var, True, MOMENTUM, EPSILON
        )
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, weight, scale, _, _ = inputs
        _, mean, inverse = output
        ctx.mark_non_differentiable(mean, inverse)
        ctx.set_materialize_grads(False)  # no zeros for those two
        ctx.save_for_backward(x, weight, scale, mean, inverse)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        if grads[0] is None:  # nothing depends on the result
            return (None,) * 5
        # Both derivatives below are differentiable again, so that this serves every order.
        x, weight, scale, mean, inverse = ctx.saved_tensors
        needs_x, needs_weight, needs_scale, *_ = ctx.needs_input_grad
        mask = [True, needs_scale, False]
        grad, mapped = grads[0], _mapped(x, weight)
        if torch.is_grad_enabled() and x.dtype == torch.float16:
            # Torch differentiates the next line by a formula that multiplies by the number of pixels in a batch.
            grad, mapped = grad.float(), mapped.float()
        inner, to_scale, _ = _aten.native_batch_norm_backward(
            grad, mapped, scale, None, None, mean, inverse, True, EPSILON, mask
        )
        inner = inner.to(x.dtype)
        zero, one, groups = (0, 0), (1, 1), x.shape[1] // weight.shape[1]
        to_x, to_weight, _ = _aten.convolution_backward(
            inner, x, weight, None, one, zero, one, False, zero, groups, [needs_x, needs_weight, False]
        )
        return to_x, to_weight, to_scale if needs_scale else None, None, None


def _mapped(x: Tensor, weight: Tensor) -> Tensor:
    return conv2d(x, weight, groups=x.shape[1] // weight.shape[1])
