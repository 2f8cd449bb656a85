"""Signals, a folder that is in use, damaged checkpoints, and seeds that diverge: what a user sees, and what is kept."""

from __future__ import annotations

import io
import logging
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from applications.nas.cli import main
from applications.nas.progress import silent
from applications.nas.retrain import run as run_module
from applications.nas.retrain import several
from applications.nas.retrain.own import Own, own_part
from applications.nas.retrain.run import retrain_run
from applications.nas.retrain.trainer import Trainer
from applications.nas.retrain.training import Training
from applications.nas.settings import CheckpointSettings, DigitsData, RetrainSettings, SearchSettings
from mlo import DivergenceError
from tests.nas.parallel_cases import GENOTYPE, WHOLE, computed

SEARCHED = SearchSettings(data=DigitsData(("digits",)), seed=3)
SMALL = replace(WHOLE, epochs=2, batch=300, cutout=0, checkpoint=CheckpointSettings(share=1e-9))  # 5 steps an epoch
MIDDLE = 8  # a step within the second epoch of the first training


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "write_pages", lambda *_: None)


def run(folder: Path, settings: RetrainSettings = SMALL) -> None:
    folder.mkdir(exist_ok=True)
    retrain_run(GENOTYPE, "small", SEARCHED, settings, folder, lambda label: silent)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "write_pages", lambda *_: None)
        run(folder)
    return computed(folder)


def begun(folder: Path) -> Path:
    """A retraining that was killed before its first state was kept: `--resume` begins it."""
    code, _ = child(lambda: run(folder) or 0, after=1, then=lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert code == -signal.SIGKILL
    return folder


def child(call: Callable[[], int], after: int = 0, then: Callable[[], None] = lambda: None) -> tuple[int, str]:
    """Make a call in a copy of this process, and another within one of its steps; return exit code and stderr."""
    told, write = os.pipe()
    number = os.fork()
    if number == 0:
        left, step = [after], Trainer.step

        def watched(self: Trainer, *arguments: object) -> None:
            left[0] -= 1
            if left[0] == 0:
                then()
            step(self, *arguments)  # type: ignore[arg-type]

        os.dup2(write, 2)
        try:
            Trainer.step = watched  # type: ignore[method-assign, assignment]
            with open(2, "w", closefd=False) as stderr, redirect_stderr(stderr), redirect_stdout(io.StringIO()):
                code = call()
            os._exit(code)
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
    os.close(write)
    with open(told) as file:
        text = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), text


def resume(folder: Path) -> int:
    return main(["retrain", "--resume", str(folder)])


def states(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").glob("*"))


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_ends_it_after_its_step(
    number: signal.Signals, name: str, whole: dict[str, object], tmp_path: Path
) -> None:
    folder = begun(tmp_path / "stopped")
    code, told = child(lambda: resume(folder), MIDDLE, lambda: os.kill(os.getpid(), number))
    assert code == 128 + number
    lines = told.splitlines()
    assert lines[0] == "stopping after this step, which is kept; once more to stop at once"
    way = f"`mlo-nas retrain --resume {folder}` goes on"
    assert lines[1:] == [f"stopped by {name} in epoch 2 of 2 of digits, seed 0; {way}"]
    assert states(folder)[-1] == f"digits-0-{MIDDLE:08}.pt", "the step in flight is kept"
    assert len(states(folder)) == 2
    assert resume(folder) == 0
    assert computed(folder) == whole
    assert not (folder / "checkpoints").exists()


def test_two_signals_at_once_are_one_wish(tmp_path: Path) -> None:
    """As torchrun sends SIGTERM to those that Ctrl-C has reached already."""

    def both() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    folder = begun(tmp_path / "stopped")
    code, told = child(lambda: resume(folder), MIDDLE, both)
    assert (code, told.count("stopped by Ctrl-C")) == (130, 1)
    assert states(folder)[-1] == f"digits-0-{MIDDLE:08}.pt"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(number: signal.Signals, whole: dict[str, object], tmp_path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), number)
        time.sleep(1.1)
        os.kill(os.getpid(), number)
        time.sleep(60)

    folder, started = begun(tmp_path / "stopped"), time.monotonic()
    code, told = child(lambda: resume(folder), MIDDLE, twice)
    assert time.monotonic() - started < 50
    assert code == 128 + number
    assert told.splitlines()[1:] == ["interrupted; what was measured until now is in the run folder"]
    assert states(folder)[-1] == "digits-0-00000005.pt", "that of the epoch before"
    assert resume(folder) == 0
    assert computed(folder) == whole


# ---------------------------------------------------------------- one process in a folder


def test_a_folder_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second process is refused, the first goes on; once it is killed, nothing is in the way."""
    folder = begun(tmp_path / "shared")
    second: list[int] = []

    def look() -> None:
        second.append(resume(folder))

    code, told = child(lambda: resume(folder) + 10 * second[0], MIDDLE, look)
    assert code == 20, told
    assert f"{folder}: another process works there (process " in told
    assert told.count("\n") == 1
    assert resume(folder) == 0


# ---------------------------------------------------------------- damaged states


def test_a_damaged_state_is_passed_over(
    whole: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = begun(tmp_path / "stopped")
    child(lambda: resume(folder), MIDDLE, lambda: os.kill(os.getpid(), signal.SIGINT))
    newest = folder / "checkpoints" / states(folder)[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    with caplog.at_level(logging.WARNING):
        assert resume(folder) == 0
    assert f"{newest} is not what was written: it is passed over" in caplog.text
    assert computed(folder) == whole

    for path in (copy / "checkpoints").glob("*.pt"):
        path.write_bytes(path.read_bytes()[:-100])
    capsys.readouterr()
    assert resume(copy) == 2
    told = capsys.readouterr().err
    assert "and those before it are damaged, and no other is kept: remove " in told
    assert "digits-0-*.pt, and this training begins anew" in told
    for path in (copy / "checkpoints").glob("digits-0-*.pt"):
        path.unlink()
    assert resume(copy) == 0
    assert computed(copy) == whole


# ---------------------------------------------------------------- seeds that diverge


def test_a_seed_that_diverges_ends_no_other(
    whole: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train, asked = several.retrain, []

    def bad(
        architecture: object, task: object, settings: object, seed: int, *rest: object, **named: object
    ) -> Training:
        asked.append(seed)
        if seed == 0 and len(asked) < 3:
            raise DivergenceError(
                "retraining diverged (task 'digits', seed 0, epoch 1): lower weights.lr or weights.clip"
            )
        return train(architecture, task, settings, seed, *rest, **named)  # type: ignore[arg-type]

    folder = begun(tmp_path / "stopped")
    monkeypatch.setattr(several, "retrain", bad)
    assert resume(folder) == 2
    out, err = capsys.readouterr()
    assert "digits" in out, "the table of those that are finished"
    last = err.splitlines()[-1]
    assert last.startswith("error: retraining diverged (task 'digits', seed 0, epoch 1): lower weights.lr or ")
    assert "; 1 of 2 trainings have finished" in last
    assert f"are kept in {folder} (`mlo-nas retrain --resume {folder}` tries again what is missing): " in last
    assert resume(folder) == 0
    assert asked == [0, 1, 0], "what is finished is not trained again"
    assert computed(folder) == whole


def test_a_state_that_is_not_finite_is_not_kept(tmp_path: Path) -> None:
    """Weights overflow within an epoch: the states that are kept are from before."""
    folder = tmp_path / "diverging"
    settings = replace(SMALL, checkpoint=CheckpointSettings(share=1.0), weights=replace(SMALL.weights, lr=1e30))
    with pytest.raises(DivergenceError, match=r"seed 0, epoch 1.*; .*seed 1, epoch 1.*tries again what is missing"):
        run(folder, settings)
    for path in (folder / "checkpoints").glob("*.pt"):
        network = torch.load(path, weights_only=True)["network"]
        assert all(bool(value.isfinite().all()) for name, value in network.items() if "running" not in name)


# ---------------------------------------------------------------- another number of ranks within an epoch


def test_what_ranks_have_for_themselves_is_shared_anew() -> None:
    """Sums and images add up to what they were; running statistics are averaged by images, counts are the first's."""

    def own(loss: float, images: int, mean: float, count: int) -> Own:
        return Own(
            torch.tensor([loss, 2 * loss], dtype=torch.float64),
            images,
            [torch.tensor([mean]), torch.tensor(count)],
            {"of": images},
        )

    each = [own(3.0, 6, 1.0, 4), own(1.0, 2, 5.0, 9)]
    assert own_part(each, 1, 2) is each[1]
    parts = [own_part(each, rank, 3) for rank in range(3)]
    assert sum(part.images for part in parts) == pytest.approx(8)
    assert torch.stack([part.sums for part in parts]).sum(dim=0).tolist() == pytest.approx([4.0, 8.0])
    assert all([value.tolist() for value in part.buffers] == [[2.0], 4] for part in parts)
    assert [part.chance for part in parts] == [{"of": 6}, {"of": 2}, None]
    alone = replace(each[0], buffers=[])
    assert own_part([alone], 1, 2).buffers == []
