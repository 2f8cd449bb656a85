"""What a block of a cell computes, for all its edges at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, max_pool2d

from applications.nas.networks.batched.depthwise import depthwise
from applications.nas.networks.batched.images import as_image, as_plane, repeat
from applications.nas.networks.batched.kernels import Form
from applications.nas.networks.batched.layout import KERNELS, MAX, MEAN, POINT, VAR, Block, depth
from applications.nas.networks.batched.normed import EPSILON, MOMENTUM, normed
from applications.nas.space.operations import check_even


class Pieces:
    """The pieces of a cell's arrays, for one forward pass.

    Args:
        arrays: By array, its pieces.
        training: Whether statistics are those of the batch, and are remembered.
    """

    def __init__(self, arrays: Mapping[str, Sequence[Tensor]], *, training: bool) -> None:
        """Keep them."""
        self.training = training
        self._arrays = arrays

    def of(self, block: Block, array: str, number: int) -> Tensor:
        """Return a piece of a block."""
        return self._arrays[array][block.pieces[array][number]]

    def mapped(self, image: Tensor, block: Block, number: int, scale: Tensor | None, *, lean: bool) -> Tensor:
        """Map the channels of each edge by a matrix of its own, normalize, and scale; lean keeps less for later."""
        weight, mean, var = (self.of(block, array, number) for array in (POINT, MEAN, VAR))
        if lean:
            return normed(image, weight, scale, mean, var, training=self.training)
        return self._normalize(conv2d(image, weight, groups=len(block.rows)), mean, var, scale)

    def normalize(self, image: Tensor, block: Block, scale: Tensor) -> Tensor:
        """Normalize each channel, and multiply it by its scale."""
        parts = [[self._arrays[array][number] for number in block.pieces[array]] for array in (MEAN, VAR)]
        # Several parts, of a pool's sources, are only read here: in training pools are normalized once for all edges.
        mean, var = (torch.cat(part) if len(part) > 1 else part[0] for part in parts)
        return self._normalize(image, mean, var, scale)

    def pools(self, images: Sequence[Tensor], block: Block) -> list[Tensor]:
        """Return the pool of each source, normalized by the batch, whose statistics are remembered for each edge."""
        return [
            self._normalize_shared(pooled(image, block), self.of(block, MEAN, place), self.of(block, VAR, place))
            if block.counts[place]
            else image
            for place, image in enumerate(images)
        ]

    def _normalize(self, image: Tensor, mean: Tensor, var: Tensor, scale: Tensor | None) -> Tensor:
        return batch_norm(image, mean, var, scale, None, self.training, MOMENTUM, EPSILON)

    def _normalize_shared(self, image: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        size = image.shape[1]
        new_mean, new_var = mean.new_zeros(size), var.new_zeros(size)
        out = batch_norm(image, new_mean, new_var, None, None, True, 1.0, EPSILON)
        mean.view(-1, size).lerp_(new_mean, MOMENTUM)
        var.view(-1, size).lerp_(new_var, MOMENTUM)
        return out


class Inputs:
    """What the blocks of a wave read: the states, and what several blocks make of them.

    Args:
        images: The states that the wave's edges leave, (B, C, H, W) each.
    """

    def __init__(self, images: Sequence[Tensor]) -> None:
        """Take the positive parts, which all convolutions read."""
        self.images = images
        self._positive = [torch.relu(image) for image in images]
        self._grids: dict[int | None, list[Tensor]] = {None: self._positive}
        self._repeated: dict[tuple[tuple[int, ...], int | None], Tensor] = {}

    def grids(self, start: int | None) -> list[Tensor]:
        """Return the positive parts; or every second pixel of every second line of them, from number `start` on."""
        if start not in self._grids:
            self._grids[start] = [image[:, :, start::2, start::2] for image in self._positive]
        return self._grids[start]

    def repeated(self, counts: tuple[int, ...], start: int | None = None) -> Tensor:
        """Return `grids`, copied for each edge."""
        if (counts, start) not in self._repeated:
            self._repeated[counts, start] = repeat(self.grids(start), counts)
        return self._repeated[counts, start]


def convolved(inputs: Inputs, block: Block, pieces: Pieces, scale: Tensor) -> Tensor:
    """Return separable or dilated convolutions, normalized and scaled, (B, edges * C, H/stride, W/stride).

    One norm of each is lean, which brings the peak of memory below 0.6 of the plain form's. If all were, it would take
    still less memory, and more time.
    """
    size = KERNELS[block.name]
    kernels = depth(size)
    if block.name.startswith("sep"):
        x = depthwise(inputs.repeated(block.counts), pieces.of(block, kernels, 0), Form(size, block.stride))
        x = torch.relu_(pieces.mapped(x, block, 0, None, lean=True))
        x = depthwise(x, pieces.of(block, kernels, 1), Form(size))
        return pieces.mapped(x, block, 1, scale, lean=False)
    if block.stride == 1:
        x = depthwise(inputs.repeated(block.counts), pieces.of(block, kernels, 0), Form(size, dilation=2))
    else:  # dilation and stride are 2: only every second pixel counts, and on those there is neither
        x = depthwise(inputs.repeated(block.counts, 0), pieces.of(block, kernels, 0), Form(size))
    return pieces.mapped(x, block, 0, scale, lean=True)


def reduced(inputs: Inputs, block: Block, pieces: Pieces, scale: Tensor) -> Tensor:
    """Return skips of stride 2, normalized and scaled: half of an edge's channels from each of two grids of pixels."""
    check_even(inputs.images[0])
    parts: list[Tensor] = []
    for place, count in enumerate(block.counts):
        if count:
            halves = [
                conv2d(inputs.grids(start)[place], pieces.of(block, POINT, 2 * place + start)) for start in (0, 1)
            ]
            parts.append(torch.cat([as_plane(half).unflatten(3, (count, -1)) for half in halves], dim=4))
    joined = torch.cat(parts, dim=3) if len(parts) > 1 else parts[0]
    return pieces.normalize(as_image(joined.flatten(3)), block, scale)


def pooled(image: Tensor, block: Block) -> Tensor:
    """Return the pool of one source, before normalization."""
    if block.name == MAX:
        return max_pool2d(image, 3, block.stride, 1)
    return avg_pool2d(image, 3, block.stride, 1, count_include_pad=False)
