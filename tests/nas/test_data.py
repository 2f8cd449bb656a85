"""Tasks: what they refuse, how data sets are cut, the digits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from applications.nas.data import Images, Part, Task, digits_tasks
from applications.nas.data.split import balanced_subset, stratified_split
from applications.nas.data.statistics import channel_statistics
from mlo import ConfigError, DataError

PIXELS = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 0, 1])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_task(**changes: object) -> Task:
    images = Images(PIXELS, LABELS)
    settings = {"train": images, "valid": images, "test": images, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    return Task(**({"name": "made up", "classes": ("cat", "dog")} | settings | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (PIXELS[0], LABELS, r"give \(N, C, H, W\)"),
        (PIXELS, LABELS[:3], "4 images but 3 labels"),
        (PIXELS[:0], LABELS[:0], "empty"),
        (PIXELS[:, :, :0], LABELS, "empty"),
        (PIXELS, torch.zeros(4, 0), "something to predict"),
        (PIXELS, torch.zeros(4, 2, 3), r"give .* \(N, outputs\) or \(N, outputs, H, W\)"),
        (PIXELS, LABELS[:, None], r"give one class for each image, \(N,\)"),
        (PIXELS, torch.tensor([0.0, 1.0, float("nan"), float("inf")]), "labels of image 2 are not finite"),
        (torch.full((4, 3, 8, 8), float("nan")), LABELS, "pixels of image 0 are not finite"),
        (PIXELS.int(), LABELS, "pixels are torch.int32"),
        (PIXELS, LABELS.int(), "labels are torch.int32"),
        (PIXELS, LABELS - 1, "label -1 is negative"),
    ],
)
def test_images_that_are_none_are_refused(pixels: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Images(pixels, labels)


def test_images_know_their_length_and_shape() -> None:
    images = Images(torch.rand(4, 1, 5, 7), LABELS)
    assert (len(images), images.shape) == (4, (1, 5, 7))
    assert images.take(torch.tensor([3, 0])).pixels.equal(images.pixels[[3, 0]])
    assert images.to("cpu").labels.equal(images.labels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("cat",)}, "'made up', train: label 1 but 1 classes"),
        ({"test": Images(PIXELS[:, :, :4], LABELS)}, r"test: images are \(3, 4, 8\)"),
        ({"mean": (0.0,)}, "1 means and 3 deviations"),
        ({"std": (1.0, 0.0, 1.0)}, "not positive"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_task(**changes)


def test_statistics_of_bytes_equal_those_of_fractions() -> None:
    pixels = torch.randint(256, (20, 3, 6, 6), generator=seeded(), dtype=torch.uint8)
    fractions = pixels.double() / 255
    mean, std = channel_statistics(pixels)
    assert mean == pytest.approx(fractions.mean((0, 2, 3)).tolist(), rel=1e-12)
    assert std == pytest.approx(fractions.transpose(0, 1).flatten(1).std(1, correction=0).tolist(), rel=1e-12)
    assert channel_statistics(fractions)[0] == pytest.approx(mean, rel=1e-12)


def test_constant_channel_takes_unit_deviation() -> None:
    assert channel_statistics(torch.zeros(2, 1, 3, 3, dtype=torch.uint8)) == ((0.0,), (1.0,))


def test_stratified_split_covers_everything_once_in_proportion() -> None:
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate((40, 21, 7))])
    parts = stratified_split(labels, (0.35, 0.35, 0.3), seeded())
    assert torch.cat(parts).sort().values.equal(torch.arange(68))
    for part, share in zip(parts, (0.35, 0.35, 0.3), strict=True):
        assert part.equal(part.sort().values)
        # Both ends of a part are rounded, each by at most half an image.
        assert ((labels[part].bincount() - share * labels.bincount()).abs() <= 1).all()


def test_split_follows_the_seed() -> None:
    labels = torch.arange(100) % 4
    first, again, other = (stratified_split(labels, (0.5, 0.5), seeded(seed))[0] for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)


def test_shares_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="sum to 1"):
        stratified_split(LABELS, (0.5, 0.6), seeded())


def test_balanced_subset_spreads_the_remainder() -> None:
    labels = torch.arange(30) % 3
    chosen = balanced_subset(labels, 8, seeded())
    assert labels[chosen].bincount().tolist() == [3, 3, 2]
    assert len(chosen.unique()) == 8


@pytest.mark.parametrize(("count", "message"), [(1, "at least one of each class"), (6, "needs 3 of class 0")])
def test_subset_that_cannot_be_balanced_is_refused(count: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        balanced_subset(LABELS, count, seeded())


def test_digits_make_two_tasks_on_disjoint_images() -> None:
    digits, loops = digits_tasks(0)
    assert (digits.name, len(digits.classes)) == ("digits", 10)
    assert (loops.name, loops.classes) == ("loops", ("none", "one", "two"))
    parts = [part for task in (digits, loops) for part in (task.train, task.valid, task.test)]
    assert sum(map(len, parts)) == 1797
    assert all(part.shape == (1, 8, 8) for part in parts)
    # No two of the 1797 digits are equal, so equal rows would be shared images.
    assert len(torch.cat([part.pixels for part in parts]).flatten(1).unique(dim=0)) == 1797
    assert (digits.augment, loops.augment) == (None, None)


def test_digits_are_cut_in_proportion() -> None:
    for task in digits_tasks(3):
        whole = len(task.train) + len(task.valid) + len(task.test)
        # Ten digits, each with an error of at most one image.
        for part, share in ((task.train, 0.35), (task.valid, 0.35), (task.test, 0.3)):
            assert abs(len(part) - share * whole) <= 10
            assert 0 <= float(part.pixels.min()) <= float(part.pixels.max()) <= 1


def test_loops_are_a_coarser_labeling_of_the_digits() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    digit_of = {image.tobytes(): int(label) for image, label in zip(bunch.images, bunch.target, strict=True)}
    digits, loops = digits_tasks(0)
    closed = {0: 1, 1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: 1, 7: 0, 8: 2, 9: 1}
    for task, meaning in ((digits, range(10)), (loops, closed)):
        for image, label in zip(task.train.pixels.double() * 16, task.train.labels, strict=True):
            assert meaning[digit_of[image[0].numpy().tobytes()]] == int(label)


def test_digits_follow_the_seed() -> None:
    first, again, other = (digits_tasks(seed)[0].train.pixels for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)


@pytest.mark.parametrize(
    ("part", "size", "training", "sizes"),
    [
        ("train", 3, True, [3]),  # one image alone has no batch statistics
        ("train", 3, False, [3, 1]),
        ("train", 4, True, [4]),
        ("all", 7, True, [7]),
        ("all", 5, True, [5, 3]),
        ("all", 100, True, [8]),  # a retraining takes what there is
        ("test", 100, False, [4]),
    ],
)
def test_batches_that_a_task_gives(part: Part, size: int, training: bool, sizes: list[int]) -> None:
    batches = make_task().stream(part, size=size, seed=0, device="cpu", training=training)
    assert [len(y) for _, y in batches] == sizes
    assert len(batches) == len(sizes)


def test_a_batch_to_search_on_is_not_larger_than_the_part() -> None:
    with pytest.raises(DataError, match="task 'made up': a batch of 5 images, but train has 4"):
        make_task().stream("train", size=5, seed=0, device="cpu", training=True)
    with pytest.raises(ConfigError, match="a batch of 0 images"):
        make_task().stream("all", size=0, seed=0, device="cpu", training=True)
