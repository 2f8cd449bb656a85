"""What commands refuse under `torchrun`, and what they say about ranks, without any of them."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

from applications.nas.cli import main
from applications.nas.dry_run import make_plan, time_step
from applications.nas.run_folder.environment import environment
from applications.nas.search import check_ranks
from applications.nas.search.words import describe_ranks
from applications.nas.settings import Interleaving, MultiTask, SearchSettings
from applications.nas.settings.parallel import ParallelSettings
from mlo import ConfigError
from tests.nas.test_search import SETTINGS

TWO_STAGES = replace(SETTINGS, formulation=Interleaving(), parallel=ParallelSettings(stages=2))


COMMANDS = [
    line.strip().removeprefix("$ ")
    for page in sorted((Path(__file__).parents[2] / "docs").glob("*.md"))
    for line in page.read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    if line.strip().removeprefix("$ ").startswith("torchrun -")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_torchrun_takes_the_commands_of_the_documentation(command: str) -> None:
    """It takes options behind the name of the program for shortened ones of its own, such as --run."""
    asked = get_args_parser().parse_args(shlex.split(command)[1:])
    assert asked.training_script in ("applications.nas", "mlo-nas", "train.py")


def torchrun(monkeypatch: pytest.MonkeyPatch, world: int, here: int) -> None:
    """Let this process look as if `torchrun` had started it."""
    places = {"WORLD_SIZE": world, "LOCAL_WORLD_SIZE": here, "RANK": 0, "LOCAL_RANK": 0}
    for name, value in ({"TORCHELASTIC_RUN_ID": "none"} | places).items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(
    ("ranks", "parallel", "told"),
    [
        (1, ParallelSettings(sync_batch_norm=True), ""),
        (2, ParallelSettings(), "2 ranks shared each batch; BatchNorm saw the share of its own rank."),
        (2, ParallelSettings(sync_batch_norm=True), "2 ranks shared each batch; BatchNorm saw the whole batch."),
        (2, ParallelSettings(stages=2), "2 ranks shared the stages."),
        (
            6,
            ParallelSettings(stages=2),
            "6 ranks shared each batch in 3 parts, and the stages in 2; BatchNorm saw the ",
        ),
    ],
)
def test_how_ranks_shared_a_search(ranks: int, parallel: ParallelSettings, told: str) -> None:
    found = describe_ranks(SearchSettings(parallel=parallel), {"devices": ranks})
    assert found.startswith(told)
    assert bool(found) == bool(told)


@pytest.mark.parametrize(
    ("program", "here", "shown"),
    [
        ("/opt/v/bin/mlo-nas", 2, "torchrun --standalone --nproc-per-node 2 --no-python -- mlo-nas zoo"),
        ("/a/applications/nas/__main__.py", 1, "torchrun --nnodes 2 --nproc-per-node 1 -m -- applications.nas zoo"),
    ],
)
def test_the_command_of_a_run_begins_with_torchrun(
    program: str, here: int, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torchrun(monkeypatch, 2, here)
    monkeypatch.setattr("sys.argv", [program, "zoo"])
    assert environment()["command"] == shown


@pytest.mark.parametrize(("world", "told"), [(1, "but there is one"), (3, "but there are 3")])
def test_ranks_that_cannot_share_the_stages(world: int, told: str) -> None:
    check_ranks(TWO_STAGES, 2)
    check_ranks(TWO_STAGES, 4)
    with pytest.raises(ConfigError, match=f"stages=2 ranks are to share the stages, {told}: start 2 ranks, or a mul"):
        check_ranks(TWO_STAGES, world)


def test_stages_that_are_handed_on_cannot_be_shared() -> None:
    settings = replace(TWO_STAGES, formulation=Interleaving(start="previous"))
    check_ranks(replace(settings, parallel=ParallelSettings()), 2)
    with pytest.raises(ConfigError, match=r"stages=2 .* formulation.start previous solves one after another: leave"):
        check_ranks(settings, 2)


def test_a_single_task_has_no_stages_to_share() -> None:
    check_ranks(replace(TWO_STAGES, formulation=MultiTask()), 2)
    with pytest.raises(ConfigError, match="formulation:single has one"):
        check_ranks(replace(TWO_STAGES, formulation=SETTINGS.formulation), 2)


def test_a_dry_run_of_what_ranks_share() -> None:
    plan = make_plan(TWO_STAGES, 2)
    alone = make_plan(replace(TWO_STAGES, parallel=ParallelSettings()))
    assert plan.stages[0].gradients == alone.stages[0].gradients
    assert time_step(plan, 0) > 0
    with pytest.raises(ConfigError, match="but there is one"):
        make_plan(TWO_STAGES)


@pytest.mark.parametrize("words", ["sweep digits --vary seed 0 1", "demo", "zoo"])
def test_commands_for_one_process(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else each rank would do the whole of it, in the same folder."""
    torchrun(monkeypatch, 2, 2)
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    told = f"rank 0: error: {words.split()[0]}: this is for one process: start it without torchrun\n"
    assert capsys.readouterr().err == told
    assert list(tmp_path.iterdir()) == []
