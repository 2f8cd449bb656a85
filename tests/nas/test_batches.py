"""Mini-batches: the same for the same seed, normalized, and augmented with the stated distributions.

Every statistical bound is `SIGMAS` standard deviations of the binomial count that it tests. The seeds are fixed, so
the tests cannot fail by chance on one day and pass on another.
"""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import pytest
import torch
from torch import Tensor

from applications.nas.data import Augment, Batches, Images
from applications.nas.data.augment import crop_and_flip, cut_out
from mlo import ConfigError, DataError

SIGMAS = 5.0


def make_images(count: int = 10, side: int = 6, channels: int = 2) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, channels, side, side), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.arange(count))


def make_batches(images: Images | None = None, size: int = 4, seed: int = 0, **options: object) -> Batches:
    statistics = {"mean": (0.5, 0.4), "std": (0.2, 0.3)}
    return Batches(images or make_images(), size=size, seed=seed, **(statistics | options))  # type: ignore[arg-type]


def epoch(batches: Batches) -> tuple[Tensor, Tensor]:
    pairs = list(batches)
    return torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])


def assert_frequency(hits: Tensor, probability: Tensor, trials: int) -> None:
    deviation = (trials * probability * (1 - probability)).sqrt()
    assert ((hits - trials * probability).abs() <= SIGMAS * deviation).all()


def test_each_epoch_holds_every_image_once_in_a_new_order() -> None:
    batches = make_batches()
    first, second = epoch(batches)[1], epoch(batches)[1]
    assert first.sort().values.equal(torch.arange(10))
    assert second.sort().values.equal(torch.arange(10))
    assert not first.equal(second)


def test_same_seed_gives_same_sequence_and_another_seed_another() -> None:
    options = {"augment": Augment(padding=2, cutout=3)}
    a, b, c = make_batches(**options), make_batches(**options), make_batches(seed=1, **options)
    for _ in range(3):
        (xa, ya), (xb, yb), (xc, _) = epoch(a), epoch(b), epoch(c)
        assert xa.equal(xb)
        assert ya.equal(yb)
        assert not xa.equal(xc)


def test_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    epoch(make_batches(augment=Augment(cutout=2)))
    assert torch.get_rng_state().equal(before)


def test_epoch_left_half_way_does_not_shift_the_next() -> None:
    left, whole = make_batches(), make_batches()
    next(iter(left))
    epoch(whole)
    assert epoch(left)[1].equal(epoch(whole)[1])


def test_epochs_side_by_side_do_not_disturb_each_other() -> None:
    together, alone = make_batches(), make_batches()
    pairs = list(zip(together, together, strict=True))
    assert torch.cat([a[1] for a, _ in pairs]).equal(epoch(alone)[1])
    assert torch.cat([b[1] for _, b in pairs]).equal(epoch(alone)[1])


def test_state_resumes_at_an_epoch_border() -> None:
    batches = make_batches(augment=Augment())
    epoch(batches)
    state = batches.state_dict()
    expected = [epoch(batches) for _ in range(2)]
    resumed = make_batches(seed=99, augment=Augment())
    resumed.load_state_dict(state)
    for x, y in expected:
        got = epoch(resumed)
        assert got[0].equal(x)
        assert got[1].equal(y)


def test_state_survives_a_safe_load(tmp_path: Path) -> None:
    batches = make_batches()
    torch.save(batches.state_dict(), tmp_path / "state.pt")
    resumed = make_batches(seed=5)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert epoch(resumed)[1].equal(epoch(batches)[1])


def test_foreign_state_is_refused() -> None:
    with pytest.raises(ConfigError, match="momentum"):
        make_batches().load_state_dict({"momentum": torch.zeros(1)})


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])])
def test_last_batch(drop_last: bool, sizes: list[int]) -> None:
    batches = make_batches(drop_last=drop_last)
    assert [len(y) for _, y in batches] == sizes
    assert len(batches) == len(sizes)


def test_without_shuffling_the_order_stays_and_pixels_are_normalized() -> None:
    images = make_images()
    x, y = epoch(make_batches(images, shuffle=False))
    mean, std = torch.tensor([0.5, 0.4]).view(1, 2, 1, 1), torch.tensor([0.2, 0.3]).view(1, 2, 1, 1)
    assert y.equal(images.labels)
    assert x.dtype == torch.float32
    assert x.equal((images.pixels.float() / 255 - mean) / std)


def test_floating_pixels_are_taken_as_they_are() -> None:
    images = Images(torch.full((4, 1, 3, 3), 0.75, dtype=torch.float64), torch.arange(4))
    x, _ = epoch(Batches(images, size=2, seed=0, mean=(0.25,), std=(0.5,)))
    assert x.dtype == torch.float32
    assert (x == 1.0).all()


def test_border_of_a_crop_is_black_before_normalizing() -> None:
    images = Images(torch.full((64, 2, 4, 4), 255, dtype=torch.uint8), torch.arange(64))
    x, _ = epoch(make_batches(images, size=64, augment=Augment(padding=4, flip=0.0)))
    black, white = torch.tensor(-0.5) / 0.2, torch.tensor(0.5) / 0.2
    assert set(x[:, 0].unique().tolist()) == {float(black), float(white)}


def test_images_are_not_changed() -> None:
    images = make_images()
    before = images.pixels.clone()
    epoch(make_batches(images, augment=Augment(cutout=4)))
    assert images.pixels.equal(before)


def test_crop_offsets_are_uniform() -> None:
    trials, padding = 20_000, 2
    # One lit pixel in the middle tells where the crop was taken.
    pixels = torch.zeros(trials, 1, 5, 5, dtype=torch.uint8)
    pixels[:, 0, 2, 2] = 1
    cropped = crop_and_flip(pixels, Augment(padding=padding, flip=0.0), torch.Generator().manual_seed(0))
    assert cropped.shape == pixels.shape
    assert (cropped.sum((1, 2, 3)) == 1).all()
    hits = cropped.sum((0, 1)).double()
    assert_frequency(hits, torch.full((5, 5), 1 / (2 * padding + 1) ** 2, dtype=torch.float64), trials)


def test_crop_is_a_window_of_the_padded_image_in_all_channels() -> None:
    images = make_images(count=50, side=4)
    cropped = crop_and_flip(images.pixels, Augment(padding=1, flip=0.0), torch.Generator().manual_seed(1))
    padded = torch.nn.functional.pad(images.pixels, [1] * 4)
    windows = [padded[:, :, i : i + 4, j : j + 4] for i in range(3) for j in range(3)]
    same = torch.stack([(window == cropped).flatten(1).all(1) for window in windows])
    assert same.any(0).all()


@pytest.mark.parametrize("flip", [0.5, 0.2])
def test_flip_probability_and_independence_of_the_crop(flip: float) -> None:
    trials = 20_000
    # Lit pixels at (2, 2) and (2, 3): their order tells the flip, the row of both tells the crop.
    pixels = torch.zeros(trials, 1, 5, 7, dtype=torch.uint8)
    pixels[:, 0, 2, 2], pixels[:, 0, 2, 3] = 1, 2
    moved = crop_and_flip(pixels, Augment(padding=1, flip=flip), torch.Generator().manual_seed(2)).flatten(1)
    first, second = moved.eq(1).int().argmax(1), moved.eq(2).int().argmax(1)
    flipped, row = first > second, first // 7
    for value in (1, 2, 3):
        hits = flipped[row == value].double()
        assert_frequency(hits.sum(), torch.tensor(flip, dtype=torch.float64), len(hits))


def test_flip_mirrors_columns() -> None:
    images = make_images()
    generator = torch.Generator()
    assert crop_and_flip(images.pixels, Augment(padding=0, flip=1.0), generator).equal(images.pixels.flip(3))
    assert crop_and_flip(images.pixels, Augment(padding=0, flip=0.0), generator).equal(images.pixels)


@pytest.mark.parametrize("side", [1, 3, 4])
def test_cutout_hides_each_pixel_as_often_as_a_uniform_center_does(side: int) -> None:
    trials, height, width = 20_000, 6, 5

    def covered(extent: int) -> Tensor:
        starts = [center - side // 2 for center in range(extent)]
        counts = [sum(start <= pixel < start + side for start in starts) for pixel in range(extent)]
        return torch.tensor(counts, dtype=torch.float64) / extent

    cut = cut_out(torch.ones(trials, 2, height, width), side, torch.Generator().manual_seed(3))
    assert cut[:, 0].equal(cut[:, 1])
    assert_frequency((cut[:, 0] == 0).sum(0).double(), covered(height)[:, None] * covered(width), trials)


def test_cutout_may_hang_over_the_border() -> None:
    cut = cut_out(torch.ones(2_000, 1, 8, 8), 4, torch.Generator().manual_seed(4))
    areas = set((cut == 0).sum((1, 2, 3)).tolist())
    # Centers 0 and 1 of 8 leave 2 and 3 rows, center 7 leaves 3, all others 4.
    assert areas == {i * j for i in (2, 3, 4) for j in (2, 3, 4)}


def test_cutout_is_zero_after_normalizing_and_larger_than_the_image_hides_most() -> None:
    x, _ = epoch(make_batches(augment=Augment(padding=0, flip=0.0, cutout=100)))
    assert (x == 0).all()


def test_mean_number_of_flips_over_epochs() -> None:
    pixels = torch.zeros(100, 2, 1, 2, dtype=torch.uint8)
    pixels[..., 0] = 255
    batches = make_batches(Images(pixels, torch.arange(100)), size=25, augment=Augment(padding=0))
    flips = sum(int((epoch(batches)[0][:, 0, 0, 0] < 0).sum()) for _ in range(40))
    assert abs(flips - 2_000) <= SIGMAS * sqrt(4_000 * 0.25)


def test_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(DataError, match="a batch of 11 images, but there are 10"):
        make_batches(size=11)


def test_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="a batch of 0 images"):
        make_batches(size=0)


def test_statistics_must_fit_the_channels() -> None:
    with pytest.raises(DataError, match="1 means and 2 deviations for 2 channels"):
        make_batches(mean=(0.5,))
    with pytest.raises(DataError, match="not positive"):
        make_batches(std=(0.5, 0.0))


@pytest.mark.parametrize("options", [{"padding": -1}, {"flip": 1.5}, {"flip": float("nan")}, {"cutout": -2}])
def test_augmentation_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Augment(**options)  # type: ignore[arg-type]
