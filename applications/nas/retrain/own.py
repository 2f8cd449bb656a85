"""What each rank of a training has for itself within an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from applications.nas.retrain.chance import Chance


@dataclass(frozen=True)
class Own:
    """A rank's part of an epoch that is not over; at its end all ranks have the same again.

    Attributes:
        sums: (2,) float64 on the CPU: loss and penalty, summed over the images that it has seen.
        images: How many these are.
        buffers: Running statistics and counts; empty if it is alone, for then they are those of the network.
        chance: The states of its generators; None where they are not known.
    """

    sums: Tensor
    images: float
    buffers: list[Tensor]
    chance: Chance | None


def nothing() -> Own:
    """Return the part of a rank at the begin of an epoch."""
    return Own(torch.zeros(2, dtype=torch.float64), 0, [], None)


def own_part(each: Sequence[Own], rank: int, world: int) -> Own:
    """Return with what a rank goes on.

    Args:
        each: What the ranks had, in their order.
        rank: Which one goes on.
        world: How many go on: if not as many, they share what the others had.

    Returns:
        What it had; of another number of ranks, equal parts of the sums, and the mean of the buffers.
    """
    if len(each) == world:
        return each[rank]
    chance = each[rank].chance if rank < len(each) else None
    images = [one.images for one in each]
    sums = torch.stack([one.sums for one in each]).sum(dim=0) / world
    buffers = [_mean(values, images) for values in zip(*(one.buffers for one in each), strict=True)]
    return Own(sums, sum(images) / world, buffers, chance)


def _mean(values: Sequence[Tensor], images: Sequence[float]) -> Tensor:
    """Return the mean by images seen; counts are those of the first rank, as at the end of an epoch."""
    total = sum(images)
    if not values[0].is_floating_point() or not total:
        return values[0]
    parts = [value.double() * (count / total) for value, count in zip(values, images, strict=True)]
    return torch.stack(parts).sum(dim=0).to(values[0].dtype)
