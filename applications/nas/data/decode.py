"""Image files to RGB: one, or many as one uint8 tensor."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from mlo import ConfigError, DataError


def decode(files: Sequence[Path], side: int | None) -> Tensor:
    """Read images as RGB.

    Args:
        files: At least one image file.
        side: Resize to side x side, cropping the longer side evenly; None if all images have one size.

    Returns:
        (N, 3, H, W) uint8.

    Raises:
        ConfigError: `side` is not positive.
        DataError: A file cannot be decoded, or differs in size from the first one.
    """
    if side is not None and side < 1:
        raise ConfigError(f"side is {side}: it is a number of pixels, so give 1 or more")
    first = _decode_one(files[0], side)
    # Filled in place: a list of arrays that is stacked at the end would need the memory twice.
    pixels = np.empty((len(files), *first.shape), dtype=np.uint8)
    for row, path in enumerate(files):
        image = _decode_one(path, side)
        if image.shape != first.shape:
            raise DataError(
                f"{path}: {image.shape[1]}x{image.shape[0]} pixels, but {files[0]} has "
                f"{first.shape[1]}x{first.shape[0]}: give a side to resize to"
            )
        pixels[row] = image
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def open_rgb(path: Path) -> Image.Image:
    """Read one image as RGB.

    Raises:
        DataError: It cannot be decoded, or is so large (above 89 million pixels) that Pillow takes it for an attack.
    """
    too_large = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                return _of_eight_bits(file).convert("RGB")
    except (OSError, SyntaxError, ValueError, *too_large) as error:
        raise DataError(f"{path}: cannot be read as an image ({error}): replace or remove it") from error


def _of_eight_bits(image: Image.Image) -> Image.Image:
    """Return an image; one of 16 bits of gray by its upper 8, for Pillow would make all above 255 white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))


def _decode_one(path: Path, side: int | None) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = open_rgb(path)
    if side is not None:
        image = ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8)
