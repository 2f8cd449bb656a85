"""Fashion-MNIST and MNIST from their own files."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import pytest
import torch

from applications.nas.data import Augment, mnist_task
from applications.nas.data._vision import load_torchvision
from mlo import ConfigError, DataError


def write_mnist(root: Path, monkeypatch: pytest.MonkeyPatch, name: str = "FashionMNIST", count: int = 20) -> Path:
    """Write four packed and four unpacked files in MNIST's own format, and make torchvision expect their checksums."""
    source = getattr(load_torchvision().datasets, name)
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    resources = []
    for part, images in (("train", count), ("t10k", 10)):
        labels = bytes(number % 10 for number in range(images))
        pixels = bytes((number + place) % 256 for number in range(images) for place in range(784))
        for kind, header, body in (
            ("images-idx3", struct.pack(">4i", 2051, images, 28, 28), pixels),
            ("labels-idx1", struct.pack(">2i", 2049, images), labels),
        ):
            file = folder / f"{part}-{kind}-ubyte"
            file.write_bytes(header + body)
            packed = gzip.compress(header + body)
            (folder / f"{file.name}.gz").write_bytes(packed)
            resources.append((f"{file.name}.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(source, "resources", resources)
    return folder


def test_fashion_is_read_from_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path, monkeypatch)
    task = mnist_task(tmp_path, seed=0)
    assert (task.name, task.classes[0], task.classes[9]) == ("fashion", "T-shirt/top", "Ankle boot")
    assert [part.labels.bincount().tolist() for part in (task.train, task.valid, task.test)] == [[1] * 10] * 3
    assert task.train.shape == (1, 28, 28)
    assert task.test.pixels[3].flatten().tolist() == [(3 + place) % 256 for place in range(784)]
    assert task.augment == Augment(padding=4, flip=0.5, cutout=0)
    both = torch.cat([task.train.pixels, task.valid.pixels]).double() / 255
    # Sums of 20 * 784 numbers of order 1, in float64.
    assert task.mean == pytest.approx((float(both.mean()),), rel=1e-12)
    assert task.std == pytest.approx((float(both.std(correction=0)),), rel=1e-12)


def test_digits_are_not_mirrored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path, monkeypatch, "MNIST")
    task = mnist_task(tmp_path, kind="mnist", seed=0, cutout=16, subset=10)
    assert task.name == "mnist"
    assert task.augment == Augment(padding=4, flip=0.0, cutout=16)


def test_missing_files_say_where_and_how(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"FashionMNIST/raw: no complete FashionMNIST here .*download=True, or put"):
        mnist_task(tmp_path, seed=0)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("train-images-idx3-ubyte.gz", r"ubyte\.gz: missing or damaged .*: fetch it from http"),
        ("t10k-labels-idx1-ubyte.gz", r"ubyte\.gz: missing or damaged .*: fetch it from http"),
        ("train-images-idx3-ubyte", "ubyte: differs from what .* holds: unpack that again"),
        ("t10k-labels-idx1-ubyte", "ubyte: differs from what .* holds: unpack that again"),
    ],
)
def test_one_flipped_bit_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, message: str) -> None:
    path = write_mnist(tmp_path, monkeypatch) / file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=message):
        mnist_task(tmp_path, seed=0)


@pytest.mark.parametrize("length", [0, 3, 16, 500])
def test_a_file_that_is_cut_short_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    path = write_mnist(tmp_path, monkeypatch) / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match="no complete FashionMNIST here"):
        mnist_task(tmp_path, seed=0)


def test_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kind is 'letters': it is one of fashion, mnist"):
        mnist_task(tmp_path, kind="letters", seed=0)  # type: ignore[arg-type]


def test_a_class_without_a_part_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path, monkeypatch, count=20)
    with pytest.raises(DataError, match=r"fashion/T-shirt/top: 2 images cannot be cut .*none for test.*: add others"):
        mnist_task(tmp_path, seed=0, split="ablation")
