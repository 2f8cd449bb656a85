"""A retraining that several ranks share: what each one sees, and that together they do what one process does."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from applications.nas.data import Task, files
from applications.nas.data.batches import share
from applications.nas.launch import Ranks
from applications.nas.retrain import chance
from applications.nas.retrain.parallel import check_ranks
from applications.nas.settings import RetrainSettings
from mlo import ConfigError
from tests.nas.parallel_cases import CASES, SETTINGS, Stopped, judge, start, toy, train
from tests.nas.torchrun import ended, module

ALONE = Ranks()
WORLDS = [2, 3]


def all_of(world: int) -> list[Ranks]:
    return [Ranks(rank, world, rank) for rank in range(world)]


# ---------------------------------------------------------------- who sees what


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


# ---------------------------------------------------------------- together as alone


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """What two and three ranks leave; what three go on with was stopped in one process."""
    root = tmp_path_factory.mktemp("ranks")
    places = {world: root / str(world) for world in WORLDS}
    for place in places.values():
        (place / "stopped").mkdir(parents=True)
    with pytest.raises(Stopped):
        train("cells", places[3] / "stopped", ALONE, stop=2)
    with module("tests.nas.parallel_cases", folder=root) as process:
        code, out, err = ended(process)
    assert (code, err) == (0, ""), out + err
    return places


@pytest.fixture(scope="module")
def found(folders: dict[int, Path]) -> dict[int, dict[str, dict[str, Tensor]]]:
    return {world: torch.load(place / "found.pt", weights_only=True) for world, place in folders.items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Tensor]]:
    return {case: train(case, tmp_path_factory.mktemp("alone"), ALONE) for case in CASES}


def differ(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Return the largest difference; the average of whole numbers is of no use to anybody, and is not compared."""
    assert first.keys() == second.keys()
    pairs = [(value, second[name]) for name, value in first.items() if value.is_floating_point()]
    return max(float((one - other).abs().max()) for one, other in pairs)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", ["cells", "pieces", "auxiliary"])
def test_ranks_equal_one_process(
    case: str, world: int, found: dict[int, dict[str, dict[str, Tensor]]], alone: dict[str, dict[str, Tensor]]
) -> None:
    """Weights, moving average, losses and errors after 12 steps in float64: the order of additions alone differs."""
    assert differ(found[world][case], alone[case]) < 1e-10
    assert differ(alone[case], {**start(case).state_dict(), "rows": alone[case]["rows"]}) > 1e-3, "it was trained"


def by_hand(world: int) -> nn.Module:
    """A loop over the ranks' chunks of each batch, each rank with running statistics of its own."""
    network, settings, task = start("batch-norm"), CASES["batch-norm"], toy()
    batches = task.stream("all", size=8, seed=5, device="cpu", training=True)
    optimizer = torch.optim.SGD(network.parameters(), 0.0, momentum=0.9, weight_decay=3e-4)
    for epoch in range(4):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * epoch / 4)) / 2
        buffers = [copy.deepcopy(dict(network.named_buffers())) for _ in range(world)]
        seen = [0] * world
        for x, y in batches:
            optimizer.zero_grad()
            for one in all_of(world):
                mine = share(len(y), one)
                if len(y[mine]):
                    network.load_state_dict(buffers[one.rank], strict=False)
                    (cross_entropy(network(x[mine].double()).logits, y[mine], reduction="sum") / len(y)).backward()
                    buffers[one.rank] = copy.deepcopy(dict(network.named_buffers()))
                    seen[one.rank] += len(y[mine])
            nn.utils.clip_grad_norm_(network.parameters(), settings.weights.clip)
            optimizer.step()
        for name, value in network.named_buffers():
            parts = [one[name].double() * count / 21 for one, count in zip(buffers, seen, strict=True)]
            value.copy_(sum(parts, torch.zeros(())) if value.is_floating_point() else buffers[0][name])
    return network


@pytest.mark.parametrize("world", WORLDS)
def test_batch_norm_of_each_rank_sees_its_share(world: int, found: dict[int, dict[str, dict[str, Tensor]]]) -> None:
    """Equal to a loop over the shares, running statistics averaged by images seen; not equal to one process."""
    mine = dict(found[world]["batch-norm"])
    rows = mine.pop("rows")
    expected = by_hand(world).state_dict()
    assert differ(mine, expected) < 1e-10
    assert all(mine[name].equal(value) for name, value in expected.items() if not value.is_floating_point())
    assert len(rows) == 4
    everyone = found[world]["everyone"]
    assert all(one == everyone[0] for one in everyone), "every rank has the same network"  # type: ignore[index]


def test_batch_norm_in_one_process_differs(
    found: dict[int, dict[str, dict[str, Tensor]]], alone: dict[str, dict[str, Tensor]]
) -> None:
    assert differ(found[2]["batch-norm"], alone["batch-norm"]) > 1e-4


@pytest.mark.parametrize("world", WORLDS)
def test_the_test_is_shared(world: int, found: dict[int, dict[str, dict[str, Tensor]]]) -> None:
    assert found[world]["scores"].tolist() == pytest.approx(judge(ALONE), rel=1e-12)  # type: ignore[attr-defined]


# ---------------------------------------------------------------- another number of ranks after a stop


def test_stopped_with_two_ranks_and_gone_on_with_one(
    folders: dict[int, Path], alone: dict[str, dict[str, Tensor]]
) -> None:
    state = torch.load(folders[2] / "stopped" / "checkpoint.pt", weights_only=True)
    assert (len(state["rows"]), len(state["generators"])) == (2, 2)
    assert differ(train("cells", folders[2] / "stopped", ALONE), alone["cells"]) < 1e-10


def test_stopped_in_one_process_and_gone_on_with_three_ranks(
    found: dict[int, dict[str, dict[str, Tensor]]], alone: dict[str, dict[str, Tensor]]
) -> None:
    assert differ(found[3]["gone on"], alone["cells"]) < 1e-10


def test_ranks_drop_different_paths(folders: dict[int, Path]) -> None:
    (first,), (second,) = torch.load(folders[2] / "checkpoint.pt", weights_only=True)["generators"]
    assert not first.equal(second)


@pytest.fixture
def _own_chance() -> Iterator[None]:
    with torch.random.fork_rng([]):
        yield


@pytest.mark.usefixtures("_own_chance")
def test_a_rank_that_was_not_there_begins_anew() -> None:
    cpu, drawn = torch.device("cpu"), []
    states = [chance.generator_states(cpu)]
    for rank, epoch in ((0, 2), (0, 3), (1, 2), (1, 2), (2, 2), (1, 3)):
        chance.restore_generators(states, rank, cpu, 7, epoch)
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
