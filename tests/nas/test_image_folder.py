"""Folders of images: what is read, what is refused, and real images where they are at hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from applications.nas.data import Task, image_folder_task
from applications.nas.data.decode import decode
from applications.nas.data.statistics import channel_statistics
from applications.nas.settings import FolderData
from applications.nas.tasks import load_tasks
from mlo import ConfigError, DataError

REAL = os.environ.get("MLO_NAS_DATA")


def write_image(path: Path, value: int, size: tuple[int, int] = (6, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), value, dtype=np.uint8)).save(path, lossless=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, one called "train"; 4 train and 2 test images of each; the color tells the class and the image."""
    for part, count in (("train", 4), ("test", 2)):
        for label, name in enumerate(("cat", "train")):
            for number in range(count):
                write_image(tmp_path / part / name / f"{number}.png", 100 * label + 10 * number)
    return tmp_path


def load(root: Path, **options: object) -> Task:
    return image_folder_task(root, name="made up", seed=0, **options)  # type: ignore[arg-type]


def test_layout_is_read_and_train_is_cut_in_halves(root: Path) -> None:
    task = load(root)
    assert task.classes == ("cat", "train")
    assert [part.labels.bincount().tolist() for part in (task.train, task.valid, task.test)] == [[2, 2]] * 3
    for part in (task.train, task.valid, task.test):
        assert part.shape == (3, 6, 6)
        assert (part.pixels[:, 0, 0, 0] // 100).long().equal(part.labels)
    both = torch.cat([task.train.pixels, task.valid.pixels])
    assert both[:, 0, 0, 0].sort().values.tolist() == [0, 10, 20, 30, 100, 110, 120, 130]
    assert (task.mean, task.std) == channel_statistics(both)


def test_same_seed_gives_same_halves(root: Path) -> None:
    for number in range(4, 40):
        write_image(root / "train" / "cat" / f"{number}.png", number)
    first, again = load(root), load(root)
    other = image_folder_task(root, name="made up", seed=1)
    assert first.train.pixels.equal(again.train.pixels)
    assert not first.train.pixels.equal(other.train.pixels)


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg", "JPEG"])
def test_formats(root: Path, suffix: str) -> None:
    write_image(root / "train" / "cat" / f"z.{suffix}", 50)
    values = torch.cat([load(root).train.pixels, load(root).valid.pixels])[:, 0, 0, 0]
    assert len(values) == 9
    assert 50 in values


def test_gray_and_palette_images_become_color(root: Path) -> None:
    Image.new("L", (6, 6), 77).save(root / "test" / "cat" / "gray.png")
    Image.new("P", (6, 6)).save(root / "test" / "cat" / "palette.png")
    assert load(root).test.shape == (3, 6, 6)


def test_gray_of_sixteen_bits_keeps_its_shades(tmp_path: Path) -> None:
    shades = np.arange(36, dtype=np.uint16).reshape(6, 6) * 1800
    Image.fromarray(shades).save(tmp_path / "deep.png")
    found = decode([tmp_path / "deep.png"], None)
    assert found.equal(torch.from_numpy(shades >> 8).to(torch.uint8).expand(1, 3, 6, 6))


def test_hidden_and_other_files_are_passed_over(root: Path) -> None:
    (root / "train" / ".cache").mkdir()
    (root / "train" / "cat" / "notes.txt").write_text("not an image")
    (root / "train" / "cat" / "._0.png").write_text("not an image")
    assert len(load(root).train) == 4


def test_images_are_resized_by_cropping_the_longer_side(root: Path) -> None:
    path = root / "test" / "cat" / "wide.png"
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[:, 4:12] = 200
    Image.fromarray(pixels).save(path)
    task = load(root, side=4)
    assert task.test.shape == (3, 4, 4)
    # The outer columns may take some black from beyond the crop, the inner ones cannot.
    assert any(bool((image[:, :, 1:3] == 200).all()) for image in task.test.pixels)


def test_subset_is_balanced_and_leaves_other_files_unread(root: Path) -> None:
    for part, count in (("train", 2), ("test", 2)):
        task = load(root, subset=count)
        assert getattr(task, part).labels.tolist() == [0, 1]


def break_missing(root: Path) -> Path:
    return root / "nowhere"


def break_test(root: Path) -> Path:
    (root / "test").rename(root / "exam")
    return root


def break_nesting(root: Path) -> Path:
    return root.parent


def break_classes(root: Path) -> Path:
    (root / "test").rename(root / "exam")
    (root / "test").mkdir()
    return root


def break_empty(root: Path) -> Path:
    (root / "train" / "dog").mkdir()
    return root


def break_difference(root: Path) -> Path:
    write_image(root / "train" / "dog" / "0.png", 0)
    return root


def break_image(root: Path) -> Path:
    whole = (root / "train" / "cat" / "2.png").read_bytes()
    (root / "train" / "cat" / "2.png").write_bytes(whole[: len(whole) // 2])
    return root


def break_text(root: Path) -> Path:
    (root / "train" / "cat" / "2.png").write_text("no image at all")
    return root


def break_size(root: Path) -> Path:
    write_image(root / "test" / "cat" / "1.png", 0, size=(7, 6))
    return root


def break_halves(root: Path) -> Path:
    for number in range(1, 4):
        (root / "train" / "cat" / f"{number}.png").unlink()
    return root


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_missing, r"nowhere: no such folder: give the folder that holds train and test"),
        (break_test, r"test: no such folder: the layout is ROOT/\{train,test\}/CLASS/IMAGE$"),
        (break_nesting, r"train: no such folder: .*; did you mean .*\?"),
        (break_classes, r"test: no classes: .* put one folder for each class here"),
        (break_empty, r"dog: no images .* remove the empty class"),
        (break_difference, r"test: classes dog are only in .*train: both need the same classes"),
        (break_image, r"2\.png: cannot be read as an image .*: replace or remove it"),
        (break_text, r"2\.png: cannot be read as an image .*: replace or remove it"),
        (break_size, r"1\.png: 7x6 pixels, but .* has 6x6: give a side"),
        (break_halves, r"train/cat: a single image cannot be cut into all parts .*leaves none for train.*: add others"),
    ],
)
def test_damage_is_refused_with_the_path_and_the_fix(root: Path, damage: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(damage(root))  # type: ignore[operator]


def test_a_class_called_train_does_not_pass_for_the_train_part(root: Path) -> None:
    with pytest.raises(DataError, match=r"did you mean"):
        load(root / "train")


def test_folders_of_classes_without_parts_are_told_where_to_go(root: Path) -> None:
    (root / "train").rename(root.parent / "flat")
    shutil.rmtree(root.parent / "flat" / "train")  # a class of that name
    with pytest.raises(
        DataError, match=r"flat/train: no such folder: .*; move the folders of the classes into .*flat/train"
    ):
        load(root.parent / "flat")


def test_the_largest_subset_that_is_told_of_can_be_taken(root: Path) -> None:
    (root / "train" / "train" / "0.png").unlink()
    with pytest.raises(DataError, match=r"valid: .* take at most 2 \(--data\.subset\)"):
        load(root, subset=4)
    assert len(load(root, subset=2).train) == 2


def test_side_of_nothing_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="side is 0"):
        load(root, side=0)


@pytest.mark.skipif(not REAL, reason="real images: set MLO_NAS_DATA to a folder ROOT/{train,test}/CLASS/IMAGE")
def test_real_folder() -> None:
    task = load(Path(str(REAL)), subset=200)
    assert [len(part) for part in (task.train, task.valid, task.test)] == [200] * 3
    for part in (task.train, task.valid, task.test):
        counts = part.labels.bincount(minlength=len(task.classes))
        assert int(counts.max() - counts.min()) <= 1
    rows = torch.cat([part.pixels for part in (task.train, task.valid)]).flatten(1).unique(dim=0)
    assert len(rows) == 400
    # Natural images: channel means near the middle, deviations of about a quarter of the range.
    assert all(0.3 < mean < 0.7 for mean in task.mean)
    assert all(0.1 < std < 0.4 for std in task.std)


def test_a_subset_that_is_too_large_names_the_folder(root: Path) -> None:
    told = rf"^{root}: train: a subset of 500 images needs 250 of class 'cat', which has 2: take at most 4 \(--data"
    with pytest.raises(DataError, match=told):
        load(root, subset=500)


def test_links_in_a_circle_are_no_folder(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(DataError, match="circle: no such folder"):
        load_tasks(FolderData((tmp_path / "circle", tmp_path / "circle" / "x")), 0)
