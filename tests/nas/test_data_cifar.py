"""CIFAR from its own files: read, cut in every way, and refused where a byte is wrong."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest

from applications.nas.data import Augment, cifar_task
from applications.nas.data._vision import load_torchvision
from mlo import ConfigError, DataError


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch, count: int = 4) -> None:
    """Write files in CIFAR-10's own format, `count` images in each, and make torchvision expect their checksums."""
    source = load_torchvision().datasets.CIFAR10
    folder = root / source.base_folder
    folder.mkdir(parents=True)
    images = np.arange(3072, dtype=np.uint32)[None, :] + np.arange(count, dtype=np.uint32)[:, None]
    batch = {"data": (images % 256).astype(np.uint8), "labels": [0, 1, 0, 1] * (count // 4)}

    def write(name: str, content: object) -> list[str]:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    monkeypatch.setattr(source, "train_list", [write("data_batch_1", batch), write("data_batch_2", batch)])
    monkeypatch.setattr(source, "test_list", [write("test_batch", batch)])
    name, checksum = write("batches.meta", {"label_names": ["airplane", "automobile"]})
    monkeypatch.setattr(source, "meta", {"filename": name, "key": "label_names", "md5": checksum})


def test_cifar_is_read_from_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch)
    task = cifar_task(tmp_path, seed=0)
    assert (task.name, task.classes) == ("cifar10", ("airplane", "automobile"))
    assert task.mean == (0.49139968, 0.48215827, 0.44653124)
    assert task.augment == Augment(padding=4, flip=0.5, cutout=0)
    for part in (task.train, task.valid):
        assert part.labels.bincount().tolist() == [2, 2]
    # The file holds one channel after the other, row by row.
    assert task.test.pixels[1].flatten().tolist() == [(1 + place) % 256 for place in range(3072)]


def test_cifar_subset_is_balanced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch)
    task = cifar_task(tmp_path, seed=0, subset=2, augment=None)
    assert [sorted(part.labels.tolist()) for part in (task.train, task.valid, task.test)] == [[0, 1]] * 3


@pytest.mark.parametrize(("classes", "folder"), [(10, "cifar-10-batches-py"), (100, "cifar-100-python")])
def test_missing_cifar_says_where_and_how(tmp_path: Path, classes: int, folder: str) -> None:
    with pytest.raises(DataError, match=rf"{folder}: no complete CIFAR-{classes} .*download=True, or unpack https://"):
        cifar_task(tmp_path, classes=classes, seed=0)  # type: ignore[arg-type]


def test_cifar_with_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="classes is 20"):
        cifar_task(tmp_path, classes=20, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("file", ["data_batch_2", "test_batch", "batches.meta"])
def test_damaged_cifar_is_refused_before_it_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    write_cifar10(tmp_path, monkeypatch)
    path = tmp_path / "cifar-10-batches-py" / file

    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the file was unpickled",))

    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError, match=r"no complete CIFAR-10 here .*corrupted"):
        cifar_task(tmp_path, seed=0)


def test_one_flipped_bit_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="no complete CIFAR-10 here"):
        cifar_task(tmp_path, seed=0)


def test_checksums_are_those_of_the_real_files() -> None:
    """What a damaged download would be compared with; torchvision may not change it unseen."""
    source = load_torchvision().datasets
    assert dict(source.CIFAR10.train_list)["data_batch_1"] == "c99cafc152244af753f735de768cd75f"
    assert len(source.CIFAR10.train_list) == 5
    assert dict(source.CIFAR100.test_list)["test"] == "f0ef6b0ae62326f3e7ffdfab6717acfc"


def test_ablation_leaves_the_official_test_set_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch, count=20)
    task = cifar_task(tmp_path, seed=0, split="ablation")
    # Of 40 train images, 20 of each class: 45 %, 45 % and 10 %.
    assert [part.labels.bincount().tolist() for part in (task.train, task.valid, task.test)] == [[9, 9], [9, 9], [2, 2]]
    assert task.split is not None
    assert task.split.sources == ("train",) * 3
    assert sorted(int(i) for part in task.split.parts for i in part) == list(range(40))


def test_file_order_takes_the_first_and_the_last_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch, count=8)
    task = cifar_task(tmp_path, seed=0, split="file")
    assert task.split is not None
    assert [part.tolist() for part in task.split.parts] == [list(range(8)), list(range(8, 16)), list(range(8))]
    # The two files of the train set are equal here, so the halves are.
    assert task.train.pixels.equal(task.valid.pixels)
    assert task.train.pixels[:, 0, 0, 0].tolist() == list(range(8))


def test_cifar100_can_take_the_statistics_of_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch)
    datasets = load_torchvision().datasets
    monkeypatch.setattr(datasets, "CIFAR100", datasets.CIFAR10)
    assert cifar_task(tmp_path, classes=100, seed=0).mean == (0.5071, 0.4867, 0.4408)
    assert cifar_task(tmp_path, classes=100, seed=0).std == (0.2675, 0.2565, 0.2761)
    habit = cifar_task(tmp_path, classes=100, seed=0, statistics="cifar10")
    own = cifar_task(tmp_path, classes=10, seed=0)
    assert (habit.mean, habit.std) == (own.mean, own.std)
    assert own.std == (0.24703233, 0.24348505, 0.26158768)
