"""ImageNet's layout: the shares of a search, all of train for the evaluation, and color jitter there alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from applications.nas.data import FileAugment, ImageFiles, imagenet_task
from applications.nas.settings import DigitsData, FolderData, ImageNetData
from applications.nas.tasks import JITTER, load_tasks, located
from mlo import ConfigError, DataError
from tests.nas.pictures import write_folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("imagenet"), {"train": 40, "val": 2}, ("n01440764", "n01443537"))


def names(images: object) -> set[bytes]:
    assert isinstance(images, ImageFiles)
    return set(images.names.tolist())


def test_a_search_takes_shares_of_each_class_and_an_evaluation_takes_all(root: Path) -> None:
    task = imagenet_task(root, seed=0)
    assert [part.labels.bincount().tolist() for part in (task.train, task.valid, task.test)] == [[4, 4], [1, 1], [2, 2]]
    assert task.train.shape == (3, 224, 224)
    assert task.part("all").labels.bincount().tolist() == [40, 40]
    assert not names(task.train) & names(task.valid)
    assert names(task.train) | names(task.valid) < names(task.part("all"))
    assert (task.mean, task.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert names(imagenet_task(root, seed=1).train) != names(task.train)


def test_settings_reach_the_task(root: Path) -> None:
    data = ImageNetData(root, side=8, train_share=0.5, valid_share=0.5, workers=0)
    (search,), (retraining,) = load_tasks(data, 0), load_tasks(data, 0, cutout=2, retraining=True)
    assert [len(part) for part in (search.train, search.valid)] == [40, 40]
    assert search.augment == FileAugment()
    assert retraining.augment == FileAugment(jitter=JITTER, cutout=2)
    assert JITTER == (0.4, 0.4, 0.4, 0.2)
    (x, y), *_ = search.stream("valid", size=3, seed=0, device="cpu", training=True)
    assert (x.shape, y.dtype) == ((3, 3, 8, 8), torch.int64)


def test_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert located(ImageNetData(Path("here"))) == ImageNetData(tmp_path / "here")
    assert located(DigitsData()) == DigitsData()


def test_a_large_folder_is_left_on_disk(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", {"train": 10, "test": 2})
    (task,) = load_tasks(FolderData((tmp_path / "a",), side=8, lazy=True, subset=2, split="ablation"), 0)
    assert isinstance(task.train, ImageFiles)
    assert [len(part) for part in (task.train, task.valid, task.test)] == [2, 2, 2]
    # The ablation's test images are train images.
    assert all(name.startswith(b"train") for name in names(task.test))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FolderData(lazy=True), "side must be given with lazy=True, got side=None"),
        (lambda: FolderData(workers=-1), "workers must be from 0 to 1024, got workers=-1"),
        (lambda: ImageNetData(side=0), "side must be from 1 to 8192, got side=0"),
        (lambda: ImageNetData(workers=-2), "workers must be from 0 to 1024"),
        (lambda: ImageNetData(train_share=0.9, valid_share=0.2), "sum to at most 1"),
        (lambda: ImageNetData(valid_share=0.0), "must be positive"),
        (lambda: imagenet_task("nowhere", seed=0, train_share=float("nan")), "give positive shares"),
        (lambda: DigitsData(("digits", "digits")), "tasks must be distinct"),
    ],
)
def test_settings_out_of_range_are_refused(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]


def test_a_class_that_is_too_small_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r"train/n01440764: 40 images .*leaves none for valid.*: add others"):
        imagenet_task(root, seed=0, valid_share=0.001)


def test_a_flat_folder_of_tests_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": 2, "val": 1})
    for path in (tmp_path / "val").glob("*/*"):
        path.rename(tmp_path / "val" / f"{path.parent.name}{path.name}")
    for folder in ("ant", "bee"):
        (tmp_path / "val" / folder).rmdir()
    with pytest.raises(DataError, match=r"val: no classes: the layout is ROOT/\{train,val\}/CLASS/IMAGE, so put one"):
        imagenet_task(tmp_path, seed=0)
