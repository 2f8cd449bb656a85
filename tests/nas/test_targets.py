"""Tasks whose targets are no classes: what they accept, how they are augmented, and those that digits are made into."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from applications.nas.data import Augment, Batches, Images, Task, digits_tasks
from applications.nas.data.digits import slant
from applications.nas.data.split import balanced_subset, stratified_split
from applications.nas.objective import AbstractObjective, Classification, DensePrediction, Regression
from mlo import ConfigError, DataError

PIXELS = torch.rand(4, 1, 6, 5, generator=torch.Generator().manual_seed(0))


def task(targets: Tensor, objective: AbstractObjective | None, classes: tuple[str, ...] = ()) -> Task:
    images = Images(PIXELS, targets)
    return Task("made up", classes, images, images, images, (0.5,), (0.3,), objective=objective)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("targets", "objective"),
    [
        (torch.rand(4), Regression()),
        (torch.rand(4, 1), Regression()),
        (torch.rand(4, 3), Regression(3)),
        (torch.rand(4, 2, 6, 5), DensePrediction(2, (6, 5))),
        (torch.rand(4, 1, 3, 2, dtype=torch.float64), DensePrediction(1, (3, 2))),
    ],
)
def test_targets_that_fit_come_out_as_float32(targets: Tensor, objective: AbstractObjective) -> None:
    one = task(targets, objective)
    assert one.objective is objective
    ((_, y),) = one.stream("train", size=4, seed=0, device="cpu", training=False)
    assert y.equal(targets.float())


@pytest.mark.parametrize(
    ("targets", "objective", "classes", "message"),
    [
        (torch.rand(4, 2), Regression(3), (), r"train: labels of shape \(4, 2\) and type float32 for 3 outputs"),
        (torch.rand(4), Regression(2), (), "for 2 outputs: give floating point"),
        (torch.arange(4), Regression(), (), "type int64 for 1 outputs"),
        (torch.rand(4, 1, 6, 6), DensePrediction(1, (6, 5)), (), r"give floating point \(N, 1, 6, 5\)"),
        (torch.rand(4), Classification(2), ("a", "b"), "are no classes: give"),
        (torch.arange(4) % 2, Classification(3), ("a", "b"), "2 classes, but Classification.*: name 3"),
        (torch.rand(4), Regression(), ("a", "b"), "2 classes, but Regression.*: name 0"),
        (torch.rand(4), None, (), "neither classes nor an objective"),
        (torch.rand(4), None, ("a", "b"), "are no classes"),
    ],
)
def test_targets_that_do_not_fit_are_refused(
    targets: Tensor, objective: AbstractObjective | None, classes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=f"task 'made up'.*{message}"):
        task(targets, objective, classes)


def test_numbers_without_a_second_dimension_are_not_spread_over_the_batch() -> None:
    """(B, 1) against (B,) would broadcast to (B, B)."""
    prediction, target = torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 1.0])
    assert Regression().loss(prediction, target) == Regression().loss(prediction, target[:, None]) == 2.0
    assert Regression().penalty(prediction, target).tolist() == [0.0, 4.0]


def test_dense_targets_are_cropped_and_flipped_with_their_images() -> None:
    pixels = torch.rand(50, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    batches = Batches(
        Images(pixels, pixels.double()), size=25, seed=0, mean=(0.0,), std=(1.0,), augment=Augment(padding=2)
    )
    moved = [pair for pair in batches]
    assert all(x.equal(y) for x, y in moved)
    assert not torch.cat([x for x, _ in moved]).sum((1, 2, 3)).equal(pixels.sum((1, 2, 3)))


def test_cutout_leaves_dense_targets_whole() -> None:
    images = Images(PIXELS + 1, PIXELS + 1)
    hidden = Augment(padding=0, flip=0.0, cutout=100)
    ((x, y),) = Batches(images, size=4, seed=0, mean=(0.0,), std=(1.0,), augment=hidden, shuffle=False)
    assert (x == 0).all()
    assert y.equal(images.labels)


def test_dense_targets_do_not_change_what_is_drawn_for_images() -> None:
    options = {"size": 2, "seed": 3, "mean": (0.0,), "std": (1.0,), "augment": Augment(padding=2, cutout=2)}
    dense = Batches(Images(PIXELS, PIXELS), **options)  # type: ignore[arg-type]
    plain = Batches(Images(PIXELS, torch.arange(4)), **options)  # type: ignore[arg-type]
    assert all(a.equal(b) for (a, _), (b, _) in zip(dense, plain, strict=True))


def test_dense_targets_of_another_size_cannot_be_cropped() -> None:
    images = Images(PIXELS, torch.rand(4, 1, 3, 5))
    Batches(images, size=2, seed=0, mean=(0.0,), std=(1.0,))
    with pytest.raises(DataError, match="cannot be cropped alike: give targets of the same size, or no augment"):
        Batches(images, size=2, seed=0, mean=(0.0,), std=(1.0,), augment=Augment())


def test_numbers_are_cut_as_one_class() -> None:
    numbers = torch.rand(11)
    first, second = stratified_split(numbers, (0.5, 0.5), torch.Generator().manual_seed(0))
    assert torch.cat([first, second]).sort().values.equal(torch.arange(11))
    assert len(balanced_subset(numbers, 5, torch.Generator())) == 5
    with pytest.raises(DataError, match="a subset of 12 images needs 12, which has 11"):
        balanced_subset(numbers, 12, torch.Generator())


def test_slant_is_the_slope_of_a_line() -> None:
    pixels = torch.zeros(4, 1, 5, 9)
    for row in range(5):
        pixels[0, 0, row, 2 + row] = 0.7  # a column more with each row down
        pixels[1, 0, row, 6 - row] = 0.3
        pixels[2, 0, row, 4] = 1.0
    assert slant(pixels).tolist() == pytest.approx([1.0, -1.0, 0.0, 0.0])  # the last has no ink at all
    assert slant(pixels.flip(3)).tolist() == pytest.approx([-1.0, 1.0, 0.0, 0.0])


def test_digits_make_tasks_of_three_kinds() -> None:
    tasks = digits_tasks(0, ("denoise", "digits", "slant", "loops"))
    assert [one.name for one in tasks] == ["denoise", "digits", "slant", "loops"]
    assert [type(one.objective) for one in tasks] == [DensePrediction, Classification, Regression, Classification]
    assert all(one.augment is None for one in tasks)
    places = [part for one in tasks if one.split for part in one.split.parts]
    assert torch.cat(places).sort().values.equal(torch.arange(1797))


@pytest.mark.parametrize(("name", "shape"), [("slant", (1,)), ("denoise", (1, 8, 8))])
def test_predicting_the_mean_has_an_rmse_of_one(name: str, shape: tuple[int, ...]) -> None:
    (one,) = digits_tasks(0, (name,))  # type: ignore[arg-type]
    fitted = one.part("all")
    assert isinstance(fitted, Images)
    assert fitted.labels.shape[1:] == shape
    guess = torch.zeros_like(fitted.labels)
    error = one.objective.score(float(one.objective.penalty(guess, fitted.labels).mean()))
    assert error == pytest.approx(1.0, abs=1e-5)  # targets are rounded to float32
    test = one.test
    assert isinstance(test, Images)
    error = one.objective.score(float(one.objective.penalty(torch.zeros_like(test.labels), test.labels).mean()))
    # 540 images: the spread of a mean square is about sqrt(2 / 540) = 0.06, of its root half of that.
    assert error == pytest.approx(1.0, abs=0.12)


def test_noise_hides_part_of_the_image_and_can_be_removed() -> None:
    (one,) = digits_tasks(0, ("denoise",))
    train = one.train
    assert isinstance(train, Images)
    spread = float(train.pixels.std()) / float(one.std[0])
    assert spread == pytest.approx(1.0, abs=0.05)
    both = torch.stack([train.pixels.flatten(), train.labels.flatten()])
    # Uncorrelated noise of deviation 0.5 beside a signal of s = 0.376: the correlation is s / sqrt(s^2 + 0.25) = 0.60.
    assert float(torch.corrcoef(both)[0, 1]) == pytest.approx(0.60, abs=0.02)


def test_the_first_two_tasks_are_as_before() -> None:
    assert [one.name for one in digits_tasks(0)] == ["digits", "loops"]
    digits, loops = digits_tasks(0)
    assert int(digits.train.pixels.double().sum() * 16) == 96794
    assert int(loops.train.pixels.double().sum() * 16) == 98377


@pytest.mark.parametrize("names", [(), ("digits", "digits"), ("digits", "letters")])
def test_other_names_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="name some of digits, loops, slant, denoise, each at most once"):
        digits_tasks(0, names)  # type: ignore[arg-type]


def test_an_objective_survives_a_change_of_the_task() -> None:
    one = digits_tasks(0)[0]
    smooth = replace(one, objective=Classification(10, 0.1))
    assert smooth.objective == Classification(10, 0.1)
    assert replace(smooth, name="other").objective == Classification(10, 0.1)
