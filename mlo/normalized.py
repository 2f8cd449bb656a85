"""Normalizations that can be differentiated more than twice.

Torch differentiates `batch_norm`, `instance_norm` and `layer_norm` once and twice by formulas, and takes the mean and
the variance in the second one for constants: third derivatives come out wrong without a word (torch 2.13; off by a
third in `tests/test_normalized.py`). They are needed where a gradient that is differentiated exactly contains another
one, as with three levels and exact products. There, the three are written out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import batch_norm, instance_norm, layer_norm
from torch.overrides import TorchFunctionMode


@contextmanager
def written_out(deep: bool) -> Iterator[None]:
    """Let the body's normalizations be differentiable to any order, if `deep`."""
    if not deep:
        yield
        return
    with _WrittenOut():
        yield


class _WrittenOut(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _INSTEAD.get(func, func)(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    over = [0, *range(2, input.dim())]
    return _by_channel(input, over, (weight, bias), (running_mean, running_var), momentum, eps)


def _instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not use_input_stats:
        return instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    over = [*range(2, input.dim())]
    return _by_channel(input, over, (weight, bias), (running_mean, running_var), momentum, eps)


def _layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    found, _, _ = _centered(input, [*range(-len(normalized_shape), 0)], eps)
    found = found if weight is None else found * weight
    return (found if bias is None else found + bias).to(input.dtype)


def _by_channel(
    input: Tensor,
    over: list[int],
    scales: tuple[Tensor | None, Tensor | None],
    running: tuple[Tensor | None, Tensor | None],
    momentum: float,
    eps: float,
) -> Tensor:
    """Normalize, scale each channel, and move running statistics as torch does: the variance without bias."""
    found, mean, variance = _centered(input, over, eps)
    count = input.numel() // mean.numel()
    with torch.no_grad():
        for statistic, value in zip(running, (mean, variance * count / max(count - 1, 1)), strict=True):
            if statistic is not None:
                statistic.lerp_(value.mean(0).reshape(-1).to(statistic), momentum)
    shape = [1, -1, *[1] * (input.dim() - 2)]
    weight, bias = (None if scale is None else scale.view(shape) for scale in scales)
    found = found if weight is None else found * weight
    return (found if bias is None else found + bias).to(input.dtype)


def _centered(input: Tensor, over: list[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return what has mean 0 and variance 1, the mean and the variance; not in half precision."""
    x = input.float() if input.element_size() < 4 else input
    mean = x.mean(over, keepdim=True)
    rest = x - mean
    variance = (rest * rest).mean(over, keepdim=True)
    return rest * torch.rsqrt(variance + eps), mean, variance


_INSTEAD: dict[Callable[..., Any], Callable[..., Any]] = {
    batch_norm: _batch_norm,
    instance_norm: _instance_norm,
    layer_norm: _layer_norm,
}
