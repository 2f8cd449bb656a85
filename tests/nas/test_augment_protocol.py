"""Augmentation of whole batches against the protocol's transforms, which take one image at a time.

The pixels are those of torchvision for the same crop and flip, bit for bit; the draws have the same distribution. Two
samples are compared by a chi-square test of homogeneity. Seeds are fixed, so no test fails by chance on some days; a
p-value below `LEAST` would come up in one choice of seeds of a thousand.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency
from torch import Tensor

from applications.nas.data import Augment, Batches, Images
from applications.nas.data._vision import load_torchvision
from applications.nas.data.augment import crop_and_flip, cut_out
from applications.nas.data.cifar import STATISTICS

LEAST = 1e-3
MEAN, STD = STATISTICS[10]
PADDING = 4
SIDE = 2 * PADDING + 1  # the smallest whose center is in sight wherever the crop is taken
DRAWS = 16_200  # a hundred for each of 81 offsets and both directions


def transforms():
    load_torchvision()
    from torchvision import transforms as found

    return found


def p_value(ours: Tensor, theirs: Tensor, outcomes: int) -> float:
    """Return how likely two samples of outcomes, numbered from 0, differ so much if they are drawn alike."""
    counts = torch.stack([torch.bincount(sample, minlength=outcomes) for sample in (ours, theirs)])
    return float(chi2_contingency(counts[:, counts.sum(0) > 0].numpy()).pvalue)


def marked(count: int) -> Tensor:
    """Images whose only lit pixels, the center and its right neighbor, tell the crop and the flip."""
    pixels = torch.zeros(count, 1, SIDE, SIDE + 2, dtype=torch.uint8)
    pixels[:, 0, PADDING, PADDING], pixels[:, 0, PADDING, PADDING + 1] = 1, 2
    return pixels


def outcome(pixels: Tensor) -> Tensor:
    """Return a number for each image's crop and flip."""
    width = pixels.shape[3]
    first, second = (pixels.flatten(1).eq(value).int().argmax(1) for value in (1, 2))
    flipped = first > second
    column = torch.where(flipped, width - 1 - first % width, first % width)
    return (first // width * width + column) * 2 + flipped


def our_crops(augment: Augment) -> Tensor:
    return outcome(crop_and_flip(marked(DRAWS), augment, torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module")
def their_crops() -> Tensor:
    """The same of torchvision's RandomCrop and RandomHorizontalFlip, which draw from the global generator."""
    kinds, one = transforms(), marked(1)[0]
    crop, flip = kinds.RandomCrop(one.shape[1:], padding=PADDING), kinds.RandomHorizontalFlip()
    torch.manual_seed(1)
    return outcome(torch.stack([flip(crop(one)) for _ in range(DRAWS)]))


def test_crops_and_flips_are_drawn_as_by_torchvision(their_crops: Tensor) -> None:
    ours = our_crops(Augment(padding=PADDING, flip=0.5))
    assert len(ours.unique()) == 2 * SIDE**2, "every offset, in both directions"
    assert p_value(ours, their_crops, 2 * SIDE * (SIDE + 2)) > LEAST


@pytest.mark.parametrize("wrong", [Augment(padding=PADDING - 1), Augment(padding=PADDING, flip=0.4)])
def test_other_crops_or_flips_would_be_seen(wrong: Augment, their_crops: Tensor) -> None:
    assert p_value(our_crops(wrong), their_crops, 2 * SIDE * (SIDE + 2)) < LEAST**2


def test_pixels_are_those_of_the_protocol_bit_for_bit() -> None:
    """For each image there is exactly one offset and direction, and it gives the same float32."""
    functional, count = transforms().functional, 6
    generator = torch.Generator().manual_seed(2)
    raw = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    how = {"size": count, "seed": 0, "mean": MEAN, "std": STD, "augment": Augment()}
    found, labels = next(iter(Batches(Images(raw, torch.arange(count)), **how)))  # type: ignore[arg-type]
    for image, label in zip(found, labels.tolist(), strict=True):
        padded = functional.pad(functional.to_pil_image(raw[label]), 4)
        same = 0
        for top, left, flip in np.ndindex(9, 9, 2):
            window = functional.crop(padded, top, left, 32, 32)
            expected = functional.to_tensor(functional.hflip(window) if flip else window)
            same += functional.normalize(expected, MEAN, STD).equal(image)
        assert same == 1


def hole(center: tuple[int, int], side: int, extent: int) -> np.ndarray:
    """The protocol's mask: a square around a center, cut off at the border; torchvision has no such transform."""
    mask = np.ones((extent, extent), bool)
    top, left = (max(place - side // 2, 0) for place in center)
    bottom, right = (min(place + side // 2, extent) for place in center)
    mask[top:bottom, left:right] = False
    return mask


@pytest.mark.parametrize("side", [4, 16])
def test_cutout_is_drawn_as_in_the_protocol(side: int) -> None:
    """Each center has a mask of its own in a large image, so that the mask tells the center."""
    extent, draws = 2 * side, 100 * (2 * side) ** 2 if side == 4 else 20_000
    masks = {hole(center, side, extent).tobytes(): place for place, center in enumerate(np.ndindex(extent, extent))}
    ours = cut_out(torch.ones(draws, 1, extent, extent), side, torch.Generator().manual_seed(3)).squeeze(1).bool()
    numbered = torch.tensor([masks[mask.tobytes()] for mask in ours.numpy()])
    centers = np.random.default_rng(4).integers(extent, size=(draws, 2))
    theirs = torch.tensor([masks[hole((y, x), side, extent).tobytes()] for y, x in centers.tolist()])
    assert len(masks) == extent**2
    assert p_value(numbered // extent, theirs // extent, extent) > LEAST
    assert p_value(numbered % extent, theirs % extent, extent) > LEAST
    if side == 4:  # enough draws for each center by itself
        assert p_value(numbered, theirs, extent**2) > LEAST


def test_a_cutout_that_stays_inside_would_be_seen() -> None:
    """RandomErasing and its like place the whole square inside, which leaves the border alone."""
    inside = torch.randint(4, 28, (5_000,), generator=torch.Generator().manual_seed(5))
    cut = cut_out(torch.ones(5_000, 1, 32, 32), 8, torch.Generator().manual_seed(6))
    ours = (cut == 0).any(3).squeeze(1).int().argmax(1)  # the first row of the square: at the border for five centers
    assert p_value((inside - 4).clamp(min=0), ours, 32) < LEAST**2
