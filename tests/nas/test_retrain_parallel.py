"""Several ranks retrain together as one process would; one that is killed comes back, one that fails says so."""

from __future__ import annotations

import copy
import json
import math
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from applications.nas.cli import main
from applications.nas.data.batches import share
from applications.nas.launch import Ranks
from tests.nas.parallel_cases import CASES, GENOTYPE, WORDS, Stopped, computed, draw_pets, judge, start, toy, train
from tests.nas.torchrun import TORCHRUN, children, ended, kill, module, tell, wait_for

ALONE = Ranks()
WORLDS = [2, 3]


def all_of(world: int) -> list[Ranks]:
    return [Ranks(rank, world, rank) for rank in range(world)]


@pytest.fixture(scope="module")
def ranks_left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the ranks of `parallel_cases` leave; what three go on with was stopped in one process."""
    root = tmp_path_factory.mktemp("ranks")
    for name in ("2", "3", "whole", "fail"):
        (root / name / "stopped").mkdir(parents=True)
    (root / "whole" / "stopped").rmdir()
    with pytest.raises(Stopped):
        train("cells", root / "3" / "stopped", ALONE, stop=2)
    draw_pets(root)
    with module("tests.nas.parallel_cases", folder=root) as process:
        code, out, err = ended(process)
    assert (code, err) == (0, ""), out + err
    return root


@pytest.fixture(scope="module")
def folders(ranks_left: Path) -> dict[int, Path]:
    return {world: ranks_left / str(world) for world in WORLDS}


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


def last(folder: Path) -> dict[str, Any]:
    """Return the last state that was kept."""
    *_, newest = sorted((folder / "checkpoints").glob("*.pt"))
    found: dict[str, Any] = torch.load(newest, weights_only=True)
    return found


def test_stopped_with_two_ranks_and_gone_on_with_one(
    folders: dict[int, Path], alone: dict[str, dict[str, Tensor]]
) -> None:
    state = last(folders[2] / "stopped")
    assert (len(state["rows"]), len(state["each"])) == (2, 2)
    assert differ(train("cells", folders[2] / "stopped", ALONE), alone["cells"]) < 1e-10


def test_stopped_in_one_process_and_gone_on_with_three_ranks(
    found: dict[int, dict[str, dict[str, Tensor]]], alone: dict[str, dict[str, Tensor]]
) -> None:
    assert differ(found[3]["gone on"], alone["cells"]) < 1e-10


def test_ranks_drop_different_paths(folders: dict[int, Path]) -> None:
    first, second = (one["chance"]["torch"] for one in last(folders[2])["each"])
    assert not first.equal(second)


# ---------------------------------------------------------------- under torchrun


def within(folder: Path) -> bool:
    """Return whether the second epoch has begun and is not over, as the last state has it."""
    state = last(folder) if any((folder / "checkpoints").glob("*.pt")) else {"rows": [], "done": 0}
    return len(state["rows"]) == 1 and state["done"] > 0


def test_a_rank_that_is_killed(ranks_left: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill -9 within an epoch: torchrun starts both ranks again, and they find their folder and go on to the bit."""
    monkeypatch.chdir(tmp_path)
    draw_pets(tmp_path)
    (tmp_path / "cell.json").write_text(GENOTYPE.to_json())
    half, folder = tmp_path / "half", tmp_path / "runs" / "retrain-1"
    with module(*TORCHRUN, "--max-restarts", "3", "-m", "applications.nas", *WORDS.split(), folder=tmp_path) as agent:
        wait_for(lambda: within(folder))
        before = children(agent.pid)
        for number, rank in before.items():
            if rank == 1:
                kill(number)
        wait_for(lambda: not set(before) & set(children(agent.pid)))
        shutil.copytree(folder, half)
        code, out, err = ended(agent)
    assert code == 0, err
    assert out.count("results: runs/retrain-1") == 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["retrain-1"]
    assert computed(folder) == computed(ranks_left / "whole")
    assert json.loads((folder / "results.json").read_text())["ranks"] == 2
    assert "2 ranks shared each batch; BatchNorm saw the share of its own rank" in (folder / "README.md").read_text()
    assert "refused" not in err, "the ranks that are started again do not look for the dead"
    assert (folder / "index.html").is_file()
    assert main(["retrain", "--resume", str(half)]) == 0  # and with one rank that is left
    rows = [path.joinpath("pets-0.csv").read_text().splitlines() for path in (half, folder)]
    assert len(rows[0]) == len(rows[1]) == 5
    assert rows[0][:2] == rows[1][:2]


def test_ranks_that_are_stopped(ranks_left: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C: both end after the same step, one message tells, and another number of ranks can go on."""
    monkeypatch.chdir(tmp_path)
    draw_pets(tmp_path)
    (tmp_path / "cell.json").write_text(GENOTYPE.to_json())
    folder = tmp_path / "runs" / "retrain-1"
    with module(*TORCHRUN, "-m", "applications.nas", *WORDS.split(), folder=tmp_path) as agent:
        wait_for(lambda: within(folder))
        tell(agent, signal.SIGINT)
        code, _, err = ended(agent)
    assert code == 1, "torchrun itself knows no other"
    told = [line for line in err.splitlines() if line.startswith(("stop", "rank", "error"))]
    assert told[0] == "stopping after this step, which is kept; once more to stop at once"
    where = r"stopped by Ctrl-C in epoch \d of 4 of pets, seed 0"
    assert re.fullmatch(rf"{where}; `mlo-nas retrain --resume .*` goes on", told[1])
    assert len(told) == 2
    state = last(folder)
    assert len(state["each"]) == 2
    assert 0 < state["done"] <= 3
    assert main(["retrain", "--resume", str(folder)]) == 0
    rows = [path.joinpath("pets-0.csv").read_text().splitlines() for path in (folder, ranks_left / "whole")]
    over = len(state["rows"]) + 1
    assert len(rows[0]) == 5
    assert rows[0][:over] == rows[1][:over]


def test_a_rank_that_fails(ranks_left: Path) -> None:
    """One image is broken: the rank that has to decode it says so, and both end, though no torchrun ends the other."""
    told = (ranks_left / "fail" / "told.txt").read_text().splitlines()
    assert sum("1.png: cannot be read as an image" in line for line in told) == 1
    assert told[0].startswith(("rank 0: error: pets/train/cats/1.png", "rank 1: error: pets/train/cats/1.png"))
    assert "error: the connection to another rank is lost" in told[1]
    assert len(told) == 2
