"""Mean and standard deviation of each channel, which images are normalized with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mlo import DataError


def check_statistics(mean: Sequence[float], std: Sequence[float], *, channels: int) -> None:
    """Refuse a mean or a standard deviation that cannot normalize images.

    Args:
        mean: One number for each channel.
        std: One positive number for each channel.
        channels: How many channels the images have.

    Raises:
        DataError: A length differs from `channels`, or a standard deviation is not positive.
    """
    if len(mean) != channels or len(std) != channels:
        raise DataError(f"{len(mean)} means and {len(std)} deviations for {channels} channels: give one for each")
    if not all(value > 0 for value in std):
        raise DataError(f"std {tuple(std)} has an entry that is not positive: a constant channel takes 1.0")


def channel_statistics(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel.

    Args:
        pixels: (N, C, H, W), uint8 (taken as a fraction of 255) or floating point.

    Returns:
        The means and the deviations; the deviation of a constant channel is given as 1.
    """
    pairs = [_moments(pixels[:, channel].flatten()) for channel in range(pixels.shape[1])]
    return tuple(mean for mean, _ in pairs), tuple(std or 1.0 for _, std in pairs)


def _moments(values: Tensor) -> tuple[float, float]:
    if values.dtype == torch.uint8:
        # 256 counts stand for all pixels: exact, and without a float64 copy of the data set.
        weight = torch.bincount(values, minlength=256).double() / len(values)
        level = torch.arange(256, dtype=torch.float64) / 255
        mean = (weight * level).sum()
        return float(mean), float((weight * (level - mean).square()).sum().sqrt())
    double = values.double()
    return float(double.mean()), float(double.std(correction=0))
