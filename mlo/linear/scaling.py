"""Norm and direction of a vector whose squares may overflow or underflow."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def safe_norm(v: Tensor) -> Tensor:
    """Return |v|: 0-d, and NaN or infinite as v is."""
    largest = v.abs().max()
    divisor = torch.where(largest > 0, largest, torch.ones_like(largest))
    size: Tensor = torch.linalg.vector_norm(v / divisor) * largest
    return size


def safe_unit(v: Tensor) -> Tensor | None:
    """Return v / |v|, or None where v is 0 or not finite."""
    largest = v.abs().max()
    if not 0 < float(largest) < math.inf:
        return None
    scaled = v / largest
    unit: Tensor = scaled / torch.linalg.vector_norm(scaled)
    return unit
