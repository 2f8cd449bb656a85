"""An epoch that begins in its middle: the batches that follow are the same, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from applications.nas.data import Images
from applications.nas.data.augment import Augment, FileAugment
from applications.nas.data.batches import AbstractBatches
from applications.nas.data.files import ImageFiles
from applications.nas.data.images import Streaming
from applications.nas.together import Together
from tests.nas.pictures import write_folder

HOW = Streaming(size=3, seed=4, mean=(0.5,) * 3, std=(0.2,) * 3)


def in_memory(augment: Augment | None, size: int = 3) -> AbstractBatches:
    pixels = torch.randint(256, (11, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Images(pixels, torch.arange(11)).stream(replace(HOW, size=size, augment=augment))


def in_files(folder: Path, workers: int) -> AbstractBatches:
    root = write_folder(folder, {"train": 4})
    names = np.array([str(path.relative_to(root)).encode() for path in sorted(root.rglob("*.png"))])
    images = ImageFiles(root, names, torch.arange(len(names)) % 2, 8, workers)
    return images.stream(replace(HOW, augment=FileAugment()))


def epochs(batches: Any, starts: list[int]) -> list[list[list[Tensor]]]:
    """The batches of several epochs, each from a start on."""
    return [[_flat(batch) for batch in batches.start_at(start)] for start in starts]


def _flat(batch: Any) -> list[Tensor]:
    return [batch] if isinstance(batch, Tensor) else [value for part in batch for value in _flat(part)]


def assert_same(found: list[list[list[Tensor]]], whole: list[list[list[Tensor]]], starts: list[int]) -> None:
    for mine, every, start in zip(found, whole, starts, strict=True):
        assert len(mine) == len(every) - start
        for one, other in zip(mine, every[start:], strict=True):
            assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))


@given(starts=st.lists(st.integers(0, 4), min_size=1, max_size=3), augment=st.booleans())
@settings(max_examples=30, deadline=None)
def test_images_in_memory(starts: list[int], augment: bool) -> None:
    how = Augment(padding=1, cutout=2) if augment else None
    assert_same(epochs(in_memory(how), starts), epochs(in_memory(how), [0] * len(starts)), starts)


@pytest.mark.parametrize("workers", [0, 2])
def test_image_files(tmp_path: Path, workers: int) -> None:
    starts = [2, 0, 3, 1]
    whole = epochs(in_files(tmp_path, 0), [0] * 4)
    assert_same(epochs(in_files(tmp_path, workers), starts), whole, starts)


def test_files_before_the_start_are_not_read(tmp_path: Path) -> None:
    batches = in_files(tmp_path, 0)
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    assert list(batches.start_at(3)) == []


@given(starts=st.lists(st.integers(0, 6), min_size=1, max_size=3), size=st.sampled_from([2, 5]))
@settings(max_examples=30, deadline=None)
def test_several_tasks(starts: list[int], size: int) -> None:
    """The shorter one is in a later epoch of its own by then."""

    def both() -> Together:
        return Together([in_memory(Augment(1), size), in_memory(None, 4), [(torch.ones(1), torch.zeros(1))] * 2])

    starts = [start % len(list(both())) for start in starts]
    assert_same(epochs(both(), starts), epochs(both(), [0] * len(starts)), starts)
