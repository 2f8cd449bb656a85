"""Feature maps between two forms: as convolutions want them, and as planes with channels in the last dimension.

Both are views of one memory. Convolutions see (B, channels, H, W) with channels last in memory; what belongs to the
edges of a block lies side by side in the channels: all of the first edge, then all of the second, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def as_plane(image: Tensor) -> Tensor:
    """Turn (B, C, H, W) into (B, H, W, C)."""
    return image.permute(0, 2, 3, 1)


def as_image(plane: Tensor) -> Tensor:
    """Turn (B, H, W, C) into (B, C, H, W)."""
    return plane.permute(0, 3, 1, 2)


def repeat(images: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """Copy each image for each of its edges, (B, C, H, W) to (B, sum of counts * C, H, W)."""
    parts = [
        as_plane(image).unsqueeze(3).expand(-1, -1, -1, count, -1)
        for image, count in zip(images, counts, strict=True)
        if count
    ]
    joined = torch.cat(parts, dim=3) if len(parts) > 1 else parts[0]
    return as_image(joined.flatten(3))


def edges_of(image: Tensor, count: int) -> tuple[Tensor, ...]:
    """Return the plane of each edge, (B, H, W, C), as views of (B, count * C, H, W)."""
    edges: tuple[Tensor, ...] = as_plane(image).unflatten(3, (count, -1)).unbind(3)
    return edges
