"""What each of several ranks sees of the data; its chance; what does not fit the ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from applications.nas.data import Task, files
from applications.nas.data.batches import share
from applications.nas.launch import Ranks
from applications.nas.retrain import chance
from applications.nas.retrain.parallel import check_ranks
from applications.nas.settings import RetrainSettings
from mlo import ConfigError
from tests.nas.parallel_cases import SETTINGS, toy

ALONE = Ranks()
WORLDS = [2, 3]


def all_of(world: int) -> list[Ranks]:
    return [Ranks(rank, world, rank) for rank in range(world)]


@pytest.mark.parametrize("world", range(1, 6))
@pytest.mark.parametrize("count", range(14))
def test_every_image_of_a_batch_is_given_once(count: int, world: int) -> None:
    shares = [list(range(count))[share(count, one)] for one in all_of(world)]
    assert [image for one in shares for image in one] == list(range(count))
    sizes = [len(one) for one in shares if one]
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    assert 1 not in sizes or count == 1, "one image alone has no batch statistics"
    assert len(sizes) == min(world, max(count // 2, min(count, 1))), "as many ranks as can be have images"


def two_epochs(task: Task, part: str, ranks: Ranks, *, training: bool) -> list[tuple[Tensor, Tensor]]:
    batches = task.stream(part, size=8, seed=3, device="cpu", training=training, ranks=ranks)  # type: ignore[arg-type]
    return [batch for _ in range(2) for batch in batches]


def same_together(task: Task, part: str, world: int, *, training: bool) -> list[list[int]]:
    """Check that the ranks' shares of each batch make the batch of one process, to the bit; return their sizes."""
    whole = two_epochs(task, part, ALONE, training=training)
    each = [two_epochs(task, part, one, training=training) for one in all_of(world)]
    sizes = task.stream(part, size=8, seed=3, device="cpu", training=training).sizes()  # type: ignore[arg-type]
    for number, (x, y) in enumerate(whole):
        assert torch.cat([one[number][0] for one in each]).equal(x)
        assert torch.cat([one[number][1] for one in each]).equal(y)
        assert sizes[number % len(sizes)] == len(y)
    return [[len(y) for _, y in one] for one in each]


@pytest.mark.parametrize("world", WORLDS)
def test_ranks_together_see_what_one_process_sees(world: int) -> None:
    """In memory: crop, flip and cutout included; 21 images, then 17, of which the last is left out in training."""
    sizes = same_together(toy(), "all", world, training=True)
    assert sizes[-1] == ([4, 4, 2] * 2 if world == 2 else [2, 2, 0] * 2)
    same_together(toy(17), "all", world, training=True)
    same_together(toy(17), "test", world, training=False)


@pytest.fixture
def folder_of_images(tmp_path: Path) -> Path:
    from PIL import Image

    draw = torch.Generator().manual_seed(0)
    for number in range(11):
        pixels = torch.randint(256, (9, 9, 3), dtype=torch.uint8, generator=draw)
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{number:02}.png")
    return tmp_path


def on_disk(folder: Path, workers: int = 0) -> Task:
    import numpy as np

    from applications.nas.data import FileAugment

    names = np.array([path.name.encode() for path in sorted(folder.glob("*.png"))])
    every = files.ImageFiles(folder, names, torch.arange(len(names)) % 2, 8, workers)
    augment = FileAugment(jitter=(0.4, 0.4, 0.4, 0.2), cutout=3)
    return Task("disk", ("a", "b"), every, every, every, (0.5,) * 3, (0.2,) * 3, augment)


@pytest.mark.parametrize("workers", [0, 1])
def test_image_files_too_and_each_is_decoded_by_one_rank(
    folder_of_images: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = on_disk(folder_of_images, workers)
    assert same_together(task, "train", 3, training=True)[2] == [2, 0, 2, 0]  # 11 images: batches of 8 and 3
    decoded: list[int] = []
    read = files.ImageFiles.path
    monkeypatch.setattr(files.ImageFiles, "path", lambda self, index: decoded.append(index) or read(self, index))
    if workers == 0:
        for one in all_of(3):
            two_epochs(task, "train", one, training=True)
        assert sorted(decoded) == sorted([*range(11)] * 2)


# ---------------------------------------------------------------- chance


@pytest.fixture
def _own_chance() -> Iterator[None]:
    with torch.random.fork_rng([]):
        yield


@pytest.mark.usefixtures("_own_chance")
def test_a_rank_that_was_not_there_begins_anew() -> None:
    cpu, drawn = torch.device("cpu"), []
    kept = chance.generator_states(cpu)
    for rank, epoch in ((0, 2), (0, 3), (1, 2), (1, 2), (2, 2), (1, 3)):
        chance.restore_generators(kept if rank == 0 else None, cpu, 7, epoch, rank)
        drawn.append(torch.rand(()).item())
    assert drawn[0] == drawn[1], "that of rank 0 was kept"
    assert drawn[2] == drawn[3]
    assert len(set(drawn)) == 4


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "world", "told"),
    [
        ({"batch": 5}, 3, r"batch=5 is that of all 3 ranks together: give two images to each, --batch 6 or more"),
        ({"sync_batch_norm": True}, 2, r"sync_batch_norm: torch has it for GPUs alone, .* use --no-sync-batch-norm"),
        ({"sync_batch_norm": True}, 1, r"sync_batch_norm"),
    ],
)
def test_what_does_not_fit_the_ranks(change: dict[str, object], world: int, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_ranks(replace(SETTINGS, **change), Ranks(1, world, 1))  # type: ignore[arg-type]
    check_ranks(RetrainSettings(batch=2, device="cpu"), ALONE)
