"""Small image files for tests."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image


def write_noise(path: Path, seed: int, size: tuple[int, int] = (24, 20)) -> None:
    """Write a random image, width x height; without loss where the format allows it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (size[1], size[0], 3), generator=generator, dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(path)


def write_folder(root: Path, counts: dict[str, int], classes: tuple[str, ...] = ("ant", "bee")) -> Path:
    """Write ROOT/PART/CLASS/NUMBER.png, with so many images of each class in each part."""
    for place, (part, count) in enumerate(counts.items()):
        for label, name in enumerate(classes):
            for number in range(count):
                write_noise(root / part / name / f"{number:03}.png", 10_000 * place + 100 * label + number)
    return root
