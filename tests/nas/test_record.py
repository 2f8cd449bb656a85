"""Splits that are written down and compared with those of another day."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from applications.nas.data import (
    Images,
    Task,
    check_split,
    check_splits,
    digits_tasks,
    large_folder_task,
    split_records,
)
from applications.nas.data.split import as_ranges, cut
from mlo import DataError
from tests.nas.pictures import write_folder, write_noise


def written(record: dict[str, Any]) -> Any:
    return json.loads(json.dumps(record))


def indices(text: str) -> list[int]:
    """Read ranges back, in the simplest way."""
    found: list[int] = []
    for word in text.split():
        low, _, high = word.partition("-")
        found += range(int(low), int(high or low) + 1)
    return found


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([4], "4"), ([0, 1, 2], "0-2"), ([0, 2, 3, 7, 9, 10], "0 2-3 7 9-10"), ([5, 8], "5 8")],
)
def test_ranges(numbers: list[int], text: str) -> None:
    assert as_ranges(torch.tensor(numbers, dtype=torch.int64)) == text
    assert indices(text) == numbers


def test_a_record_says_which_images_a_part_has() -> None:
    (task,) = digits_tasks(4, ("digits",))
    record = written(task.split_record())
    assert (record["split"], record["seed"]) == ("shares", 4)
    assert task.split is not None
    for name, chosen in zip(("train", "valid", "test"), task.split.parts, strict=True):
        part = record["parts"][name]
        assert indices(part["indices"]) == chosen.tolist()
        assert (part["images"], part["source"]) == (len(chosen), "digits")
    assert len(json.dumps(record)) < 10_000


def test_the_same_split_passes_and_another_does_not() -> None:
    tasks = digits_tasks(0)
    records = written(split_records(tasks))
    check_splits(digits_tasks(0), records)
    check_splits(digits_tasks(0)[1:], records)
    with pytest.raises(
        DataError, match=r"task 'digits', train: 312 images, but not those that the search had: restore"
    ):
        check_splits(digits_tasks(1), records)
    with pytest.raises(DataError, match="task 'slant' has no recorded split"):
        check_splits(digits_tasks(0, ("slant",)), records)


def test_one_changed_pixel_or_target_is_noticed() -> None:
    (task,) = digits_tasks(0, ("slant",))
    record = written(task.split_record())
    test = task.test
    assert isinstance(test, Images)
    pixels, labels = test.pixels.clone(), test.labels.clone()
    pixels[3, 0, 2, 2] += 1e-3
    labels[5] += 1e-3
    backwards = test.take(torch.arange(len(test)).flip(0))
    for changed in (Images(pixels, test.labels), Images(test.pixels, labels), backwards):
        with pytest.raises(DataError, match=r"task 'slant', test: .*but not those"):
            check_split(replace(task, test=changed), record)
    check_split(task, record)


def test_a_file_that_is_new_is_noticed(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": 6, "test": 2})

    def load() -> Task:
        return large_folder_task(tmp_path, name="made up", side=8, seed=0)

    record = written(load().split_record())
    check_split(load(), record)
    write_noise(tmp_path / "test" / "ant" / "new.png", 1)
    with pytest.raises(DataError, match="task 'made up', test: 5 images, the search had 4: restore the data"):
        check_split(load(), record)


@pytest.mark.parametrize("record", [{}, [], None, {"parts": 3}, {"parts": {"train": {"images": "many", "sha256": ""}}}])
def test_a_record_that_is_none_is_refused(record: Any) -> None:
    with pytest.raises(DataError, match="the recorded split of task 'digits' is not well formed"):
        check_split(digits_tasks(0)[0], record)
    with pytest.raises(DataError, match="task 'digits'"):
        check_splits(digits_tasks(0), record)


def test_other_parts_are_refused() -> None:
    task = digits_tasks(0)[0]
    record = written(task.split_record())
    del record["parts"]["valid"]
    with pytest.raises(DataError, match="has the parts train, valid, test, in the record train, test"):
        check_split(task, record)


def test_very_many_images_are_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("applications.nas.data.task._LISTED", 300)
    parts = digits_tasks(0)[0].split_record()["parts"]
    assert ["indices" in parts[name] for name in ("train", "valid", "test")] == [False, False, True]


@pytest.mark.parametrize("kind", ["halves", "ablation", "file"])
def test_every_split_has_disjoint_parts_that_follow_the_seed(kind: Any) -> None:
    train, test = torch.arange(200) % 4, torch.arange(40) % 4
    split = cut(train, test, kind=kind, seed=0, subset=None)
    of_train = torch.cat([part for part, where in zip(split.parts, split.sources, strict=True) if where == "train"])
    assert of_train.sort().values.equal(torch.arange(200))
    again, other = (cut(train, test, kind=kind, seed=seed, subset=None) for seed in (0, 1))
    assert all(a.equal(b) for a, b in zip(split.parts, again.parts, strict=True))
    assert split.parts[0].equal(other.parts[0]) == (kind == "file")
    assert [len(part) for part in cut(train, test, kind=kind, seed=0, subset=12).parts] == [12, 12, 12]


def test_full_size_shares() -> None:
    """25,000 + 25,000 + 10,000, and 22,500 + 22,500 + 5,000, balanced over 100 classes."""
    train, test = torch.arange(50_000) % 100, torch.arange(10_000) % 100
    halves = cut(train, test, kind="halves", seed=0, subset=None)
    assert [len(part) for part in halves.parts] == [25_000, 25_000, 10_000]
    ablation = cut(train, test, kind="ablation", seed=0, subset=None)
    assert [len(part) for part in ablation.parts] == [22_500, 22_500, 5_000]
    assert [train[part].bincount().unique().tolist() for part in ablation.parts] == [[225], [225], [50]]
    assert len(as_ranges(ablation.parts[0])) < 150_000
