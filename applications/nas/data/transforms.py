"""From an image file to a normalized tensor, as large images are prepared for training and for testing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from applications.nas.data._vision import load_transforms
from applications.nas.data.augment import FileAugment, cut_out
from applications.nas.data.decode import open_rgb
from applications.nas.seeded import seeded

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Recipe:
    """All that decides how a file becomes a tensor, except chance.

    Attributes:
        side: Height and width of the result in pixels.
        mean: Subtracted, per channel, from pixels / 255.
        std: Divided by, per channel.
        augment: Of a training image: a random crop that is resized, a flip, a change of color. Without it, the image
            is resized so that its shorter side is 256/224 of `side`, and its center is cut out.
    """

    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: FileAugment | None = None

    def prepare(self) -> None:
        """Load what `image` needs: processes that are forked afterwards have it, and start at once."""
        _transform(self)

    def image(self, path: Path, seed: int) -> Tensor:
        """Read one image.

        Args:
            path: The file.
            seed: Decides everything that is random; the global generator is left as it was.

        Returns:
            (3, side, side) float32, normalized.

        Raises:
            DataError: The file cannot be decoded.
        """
        picture = open_rgb(path)
        with seeded(seed, torch.device("cpu")):
            image: Tensor = _transform(self)(picture)
            if self.augment is not None and self.augment.cutout:
                image = cut_out(image[None], self.augment.cutout, torch.default_generator)[0]
        return image


@cache
def _transform(recipe: Recipe) -> Callable[[Any], Tensor]:
    # Built in the process that uses it, so that torchvision comes in through its door there, too.
    v2, augment, side = load_transforms(), recipe.augment, recipe.side
    if augment is None:
        steps = [v2.Resize(round(side * 256 / 224)), v2.CenterCrop(side)]
    else:
        steps = [v2.RandomResizedCrop(side, scale=(augment.smallest, 1.0)), v2.RandomHorizontalFlip(augment.flip)]
        if any(augment.jitter):
            steps.append(v2.ColorJitter(*augment.jitter))
    steps += [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(recipe.mean, recipe.std)]
    pure: Callable[[Any], Tensor] = v2.Compose([*steps, v2.ToPureTensor()])
    return pure
