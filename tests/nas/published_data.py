"""A few images in the formats in which CIFAR is published, with the checksums that torchvision then expects."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest

from applications.nas.data._vision import load_torchvision

_PER_CLASS = 80  # of train; a fifth of it in the test set


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write CIFAR-10 and CIFAR-100 of two classes each."""
    for name in ("CIFAR10", "CIFAR100"):
        source = getattr(load_torchvision().datasets, name)
        folder = root / source.base_folder
        folder.mkdir(parents=True, exist_ok=True)
        key = "labels" if name == "CIFAR10" else "fine_labels"
        train = [name for name, _ in source.train_list]
        lists = {
            "train_list": [_write(folder / one, _batch(key, 2 * _PER_CLASS // len(train))) for one in train],
            "test_list": [_write(folder / one, _batch(key, 2 * _PER_CLASS // 5)) for one, _ in source.test_list],
        }
        for field, files in lists.items():
            monkeypatch.setattr(source, field, files)
        file, checksum = _write(folder / source.meta["filename"], {source.meta["key"]: ["airplane", "automobile"]})
        monkeypatch.setattr(source, "meta", {**source.meta, "filename": file, "md5": checksum})


def _batch(key: str, count: int) -> dict[str, object]:
    images = np.arange(3072, dtype=np.uint32)[None, :] + 7 * np.arange(count, dtype=np.uint32)[:, None]
    return {"data": (images % 256).astype(np.uint8), key: [number % 2 for number in range(count)]}


def _write(file: Path, content: object) -> list[str]:
    data = pickle.dumps(content)
    file.write_bytes(data)
    return [file.name, hashlib.md5(data).hexdigest()]
