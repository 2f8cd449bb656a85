"""Lower precision under `torch.autocast`, for functions with a backward pass of their own."""

from __future__ import annotations

import torch
from torch import Tensor


def at_precision(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return input and weight of a convolution in the type in which autocast would compute it.

    Autocast does not reach the backward pass, where what was kept has to be of one type already.
    """
    kind = x.device.type
    if not torch.is_autocast_enabled(kind) or torch.float64 in (x.dtype, weight.dtype):
        return x, weight
    lower = torch.get_autocast_dtype(kind)
    return x.to(lower), weight.to(lower)
