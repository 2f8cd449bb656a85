"""What is done to training images; random crop, flip and cutout of whole batches, as in the DARTS protocol.

Every draw is made for all images at once, from the generator that is passed in: never from the global one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from applications.nas.typed import check_types
from mlo import ConfigError


@dataclass(frozen=True)
class Augment:
    """What is done to a training image.

    Attributes:
        padding: Zeros added on each side of the raw image before a crop of the old size; 0 turns the crop off.
        flip: Probability of a horizontal flip.
        cutout: Side of the square that is set to 0 after normalizing; 0 turns it off.
    """

    padding: int = 4
    flip: float = 0.5
    cutout: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        check_types("augment", self)
        if self.padding < 0:
            raise ConfigError(f"padding is {self.padding}: it counts pixels, so give 0 (no crop) or more")
        if not 0.0 <= self.flip <= 1.0:
            raise ConfigError(f"flip is {self.flip}: it is a probability, so give a number from 0 to 1")
        if self.cutout < 0:
            raise ConfigError(f"cutout is {self.cutout}: it is a side in pixels, so give 0 (no cutout) or more")


@dataclass(frozen=True)
class FileAugment:
    """What is done to a training image that is decoded when it is needed; the defaults are those of a search.

    Attributes:
        smallest: Smallest share of the image's area that a random crop takes, before it is resized.
        flip: Probability of a horizontal flip.
        jitter: How far brightness, contrast, saturation and hue are changed at most; 0 leaves one alone.
        cutout: Side of the square that is set to 0 after normalizing; 0 turns it off.

    Source: the crop is that of "Going Deeper with Convolutions", Szegedy et al., 2015.
    """

    smallest: float = 0.08
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    cutout: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that mean nothing."""
        check_types("augment", self)
        if not 0.0 < self.smallest <= 1.0:
            raise ConfigError(f"smallest is {self.smallest}: it is a share of an area, so give a number up to 1")
        if not 0.0 <= self.flip <= 1.0:
            raise ConfigError(f"flip is {self.flip}: it is a probability, so give a number from 0 to 1")
        if not (all(0.0 <= part <= 1.0 for part in self.jitter) and self.jitter[3] <= 0.5):
            raise ConfigError(f"jitter is {self.jitter}: give numbers from 0 to 1, the last, of hue, up to 0.5")
        if self.cutout < 0:
            raise ConfigError(f"cutout is {self.cutout}: it is a side in pixels, so give 0 (no cutout) or more")


def crop_and_flip(pixels: Tensor, augment: Augment, generator: torch.Generator) -> Tensor:
    """Crop each zero-padded image at a random place, then mirror some of them.

    Args:
        pixels: Raw images (N, C, H, W), any dtype.
        augment: Its `padding` and `flip`.
        generator: CPU generator of all draws.

    Returns:
        Images of the same shape, dtype and device.
    """
    if not augment.padding and not augment.flip:
        return pixels
    count, channels, height, width = pixels.shape
    rows, columns = (torch.arange(extent, device=pixels.device).expand(count, -1) for extent in (height, width))
    if augment.padding:
        offsets = torch.randint(2 * augment.padding + 1, (2, count, 1), generator=generator).to(pixels.device)
        rows, columns = rows + offsets[0], columns + offsets[1]
        pixels = pad(pixels, [augment.padding] * 4)
    if augment.flip:
        mirrored = (torch.rand(count, 1, generator=generator) < augment.flip).to(pixels.device)
        columns = torch.where(mirrored, columns.flip(1), columns)
    # One gather moves every pixel once, straight to where crop and flip bring it.
    places = rows[:, :, None] * pixels.shape[3] + columns[:, None, :]
    moved = pixels.flatten(2).gather(2, places.view(count, 1, -1).expand(-1, channels, -1))
    return moved.view(count, channels, height, width)


def cut_out(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Set one square of each image to 0, which after normalizing is the mean color.

    The center is uniform over all pixels, so the square may hang over the border.

    Args:
        images: Normalized images (N, C, H, W).
        side: Side of the square in pixels.
        generator: CPU generator of all draws.

    Returns:
        New images of the same shape.
    """
    count, _, height, width = images.shape
    rows = _band(torch.randint(height, (count,), generator=generator), height, side)
    columns = _band(torch.randint(width, (count,), generator=generator), width, side)
    square = (rows[:, :, None] & columns[:, None, :]).unsqueeze(1)
    return torch.where(square.to(images.device), 0.0, images)


def _band(center: Tensor, extent: int, side: int) -> Tensor:
    start = (center - side // 2).unsqueeze(1)
    position = torch.arange(extent)
    return (position >= start) & (position < start + side)
