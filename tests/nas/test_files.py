"""Images that stay on disk: the same batches for any number of workers, and the transforms of the protocol."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from applications.nas.data import (
    AbstractBatches,
    Augment,
    FileAugment,
    ImageFiles,
    Images,
    Task,
    image_folder_task,
    large_folder_task,
)
from applications.nas.data._vision import load_transforms
from applications.nas.data.decode import open_rgb
from applications.nas.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Recipe
from mlo import ConfigError, DataError, MLOError
from tests.nas.pictures import write_folder, write_noise

ALL = FileAugment(jitter=(0.4, 0.4, 0.4, 0.2), cutout=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), {"train": 6, "test": 3})


def load(root: Path, **options: object) -> Task:
    return large_folder_task(root, name="made up", side=8, seed=0, **({"augment": ALL} | options))  # type: ignore[arg-type]


def stream(task: Task, seed: int = 0, **options: object) -> AbstractBatches:
    settings = {"part": "train", "size": 4, "device": "cpu", "training": True}
    return task.stream(seed=seed, **(settings | options))  # type: ignore[arg-type]


def epoch(batches: AbstractBatches) -> tuple[Tensor, Tensor]:
    pairs = list(batches)
    assert len(pairs) == len(batches)
    return torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])


def test_batches_are_the_same_for_any_number_of_workers(root: Path) -> None:
    alone, others = stream(load(root)), stream(load(root, workers=2))
    for _ in range(2):
        for (xa, ya), (xb, yb) in zip(alone, others, strict=True):
            assert xa.equal(xb)
            assert ya.equal(yb)
            assert xa.dtype == torch.float32
            assert xa.shape[1:] == (3, 8, 8)


def test_each_epoch_is_new_and_follows_the_seed(root: Path) -> None:
    task = load(root)
    one, same, other = stream(task), stream(task), stream(task, seed=1)
    first, second = epoch(one), epoch(one)
    assert first[0].equal(epoch(same)[0])
    assert not first[0].equal(second[0])
    assert not first[0].equal(epoch(other)[0])
    assert first[1].bincount().tolist() == second[1].bincount().tolist() == [3, 3]


def test_an_image_is_augmented_alike_wherever_it_stands(root: Path) -> None:
    """The seed of an image is its own: the size of the batches plays no part."""
    task = load(root)
    assert epoch(stream(task, size=2))[0].equal(epoch(stream(task, size=4))[0])


def test_the_global_generator_is_left_alone(root: Path) -> None:
    before = torch.get_rng_state()
    epoch(stream(load(root)))
    epoch(stream(load(root), workers=1))
    assert torch.get_rng_state().equal(before)


def test_state_resumes_at_an_epoch_border(root: Path) -> None:
    batches, resumed = stream(load(root)), stream(load(root), seed=9)
    epoch(batches)
    resumed.load_state_dict(batches.state_dict())
    assert epoch(resumed)[0].equal(epoch(batches)[0])


def test_training_transform_is_the_one_of_the_protocol(root: Path) -> None:
    """Random resized crop, flip, color jitter, normalizing, in this order and with torchvision's own draws."""
    v2, path = load_transforms(), root / "train" / "ant" / "000.png"
    steps = [v2.RandomResizedCrop(8), v2.RandomHorizontalFlip(), v2.ColorJitter(0.4, 0.4, 0.4, 0.2), v2.ToImage()]
    whole = v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    recipe = Recipe(8, IMAGENET_MEAN, IMAGENET_STD, replace(ALL, cutout=0))
    with torch.random.fork_rng():
        for seed in range(5):
            torch.manual_seed(seed)
            assert recipe.image(path, seed).equal(whole(open_rgb(path)).as_subclass(torch.Tensor))


def test_evaluation_resizes_and_takes_the_center(root: Path) -> None:
    recipe, path = Recipe(14, (0.0,) * 3, (1.0,) * 3), root / "train" / "ant" / "000.png"
    # The shorter side of 24 x 20 becomes 14 * 256 / 224 = 16, the longer one 19 (torchvision rounds down).
    resized = open_rgb(path).resize((19, 16), 2)
    left = round((19 - 14) / 2)
    expected = load_transforms().functional.pil_to_tensor(resized.crop((left, 1, left + 14, 15)))
    for seed in (0, 1):
        assert (255 * recipe.image(path, seed)).round().byte().equal(expected)


def test_evaluation_keeps_the_order_and_takes_any_size(root: Path) -> None:
    batches = stream(load(root), part="test", training=False, size=1000)
    (x, y), (again, _) = epoch(batches), epoch(batches)
    assert y.tolist() == [0, 0, 0, 1, 1, 1]
    assert x.equal(again)
    with pytest.raises(DataError, match="a batch of 1000 images, but train has 6"):
        stream(load(root), size=1000)


def test_cutout_is_zero_after_normalizing(root: Path) -> None:
    x, _ = epoch(stream(load(root, augment=FileAugment(cutout=100))))
    assert (x == 0).all()
    x, _ = epoch(stream(load(root, augment=FileAugment(cutout=3))))
    # A square of 3 pixels whose center is in the image leaves 4 to 9 of them inside.
    counts = (x == 0).all(1).sum((1, 2))
    assert set(counts.tolist()) <= {4, 6, 9}


def test_the_same_images_and_split_as_in_memory(root: Path) -> None:
    lazy, read = load(root), image_folder_task(root, name="made up", seed=0)
    for part in ("train", "valid", "test"):
        files, images = getattr(lazy, part), getattr(read, part)
        assert isinstance(files, ImageFiles)
        assert files.labels.equal(images.labels)
        pictures = [torch.from_numpy(_pixels(files, index)) for index in range(len(files))]
        assert torch.stack(pictures).permute(0, 3, 1, 2).equal(images.pixels)


def _pixels(files: ImageFiles, index: int):
    import numpy as np

    return np.array(open_rgb(files.path(index)))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_file_is_named_in_one_line(tmp_path: Path, workers: int) -> None:
    broken = write_folder(tmp_path, {"train": 2, "test": 1}) / "test" / "bee" / "000.png"
    broken.write_bytes(broken.read_bytes()[:200])
    batches = stream(load(tmp_path), part="test", training=False, workers=workers)
    with pytest.raises(
        DataError, match=r"bee/000\.png: cannot be read as an image .*: replace or remove it$"
    ) as caught:
        list(batches)
    assert "\n" not in str(caught.value)


def test_a_process_that_dies_is_told_in_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recipe, "image", lambda *_: os._exit(9))  # forked workers see it, too
    batches = stream(load(root, workers=1))
    with pytest.raises(MLOError, match=r"^a process that decodes images died, perhaps .*: use fewer workers$"):
        list(batches)


def test_any_other_error_keeps_its_form(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Tensor:
        raise RuntimeError("something else")

    monkeypatch.setattr(Recipe, "image", fail)
    with pytest.raises(RuntimeError, match=r"^something else$"):
        list(stream(load(root)))


def test_a_started_process_opens_torchvision_through_its_door(root: Path, tmp_path: Path) -> None:
    """Where workers are spawned and not forked, what they unpickle must not import torchvision by itself."""
    recipe = Recipe(8, IMAGENET_MEAN, IMAGENET_STD, ALL)
    recipe.image(root / "train" / "ant" / "000.png", 3)  # builds the transform here
    (tmp_path / "recipe").write_bytes(pickle.dumps(recipe))
    code = (
        "import pickle, sys; from pathlib import Path; recipe = pickle.loads(Path(sys.argv[1]).read_bytes());"
        "assert 'torchvision' not in sys.modules; print(float(recipe.image(Path(sys.argv[2]), 3).double().sum()))"
    )
    words = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "recipe"), str(root / "train/ant/000.png")]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == float(recipe.image(root / "train" / "ant" / "000.png", 3).double().sum())


def test_files_know_what_they_are(root: Path) -> None:
    task = load(root)
    files, count = task.train, len(task.train)
    assert isinstance(files, ImageFiles)
    assert task.part("all").labels.bincount().tolist() == [6, 6]
    assert files.shape == (3, 8, 8)
    assert files.fingerprint() == load(root).train.fingerprint()
    assert files.fingerprint() != files.take(torch.arange(count).flip(0)).fingerprint()
    assert files.fingerprint() != replace(files, labels=1 - files.labels).fingerprint()


def test_names_need_not_be_plain(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": 2, "test": 1}, classes=("Ameise", "Grünspecht"))
    name = os.fsdecode(b"odd\xff.png")
    try:
        write_noise(tmp_path / "test" / "Ameise" / name, 1)
    except (OSError, ValueError):
        pytest.skip("this file system has no names that are not UTF-8")
    task = load(tmp_path)
    assert task.classes == ("Ameise", "Grünspecht")
    assert len(epoch(stream(task, part="test", training=False))[1]) == 3


def test_what_does_not_go_together_is_refused(root: Path) -> None:
    task = load(root)
    files = task.train
    assert isinstance(files, ImageFiles)
    in_memory = Images(torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(DataError, match="joined with files of the same folder"):
        files.join(in_memory)
    with pytest.raises(DataError, match="cannot be joined with ImageFiles"):
        in_memory.join(files)
    with pytest.raises(ConfigError, match="Augment is for images in memory"):
        stream(replace(task, augment=Augment()))
    with pytest.raises(ConfigError, match="FileAugment is for image files"):
        stream(replace(task, train=in_memory, valid=in_memory, test=in_memory), size=2)
    with pytest.raises(ConfigError, match="workers is -1"):
        stream(task, workers=-1)
    with pytest.raises(ConfigError, match="side is 0"):
        replace(files, side=0)
    with pytest.raises(DataError, match="give one label for each file"):
        replace(files, labels=files.labels[:2])
    with pytest.raises(DataError, match="must be classes"):
        replace(files, labels=files.labels.float())


@pytest.mark.parametrize(
    "options",
    [{"smallest": 0.0}, {"flip": -0.1}, {"jitter": (0.4, 0.4, 0.4, 0.6)}, {"jitter": (2.0, 0, 0, 0)}, {"cutout": -1}],
)
def test_augmentation_out_of_range_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        FileAugment(**options)  # type: ignore[arg-type]
