"""A search that is killed and resumed is the one that was not killed: weights, alphas, logs and cell, bit for bit."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

import mlo
from applications.nas.cli import main
from applications.nas.config_file import to_json
from applications.nas.methods import AbstractMethod, Darts, PCDarts, PDarts
from applications.nas.presets import RETRAIN
from applications.nas.run_folder import read_metrics, write_config
from applications.nas.run_folder.held import held
from applications.nas.search import can_resume, resume, search
from applications.nas.search import record as module
from applications.nas.settings import (
    CheckpointSettings,
    Formulation,
    GradientSettings,
    Interleaving,
    MultiTask,
    SearchSettings,
    SingleTask,
    SupernetSettings,
)
from applications.nas.space.zoo import ZOO
from applications.nas.stopping import stoppable
from tests.nas.interrupted import assert_same_search, killed, run

SETTINGS = SearchSettings(
    supernet=SupernetSettings(nodes=1, primitives=("none", "skip_connect", "dil_conv_3x3"), channels=2, layers=3),
    gradient=GradientSettings("first"),
    formulation=SingleTask(),
    epochs=2,
    batch=80,  # four batches of the 314 images that digits has to train on
    device="cpu",
    checkpoint=CheckpointSettings(share=1.0),
)
METHODS: list[AbstractMethod] = [
    Darts(warm_up=0.5),
    PDarts(deeper=(0, 1), kept=(1.0, 0.7), dropout=(0.2, 0.3)),
    PCDarts(portion=2),
]
FORMS: list[Formulation] = [SingleTask(task="loops"), MultiTask(), Interleaving()]

NEVER = 10**9


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures have tests of their own, and take most of the time of so small a search."""
    monkeypatch.setattr(module, "draw_search", lambda *_: ([], []))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.title)
def test_killed_at_any_moment(tmp_path: Path, method: AbstractMethod, form: Formulation) -> None:
    settings = replace(SETTINGS, method=method, formulation=form)
    search(settings, tmp_path / "whole")
    draws = random.Random(f"{method.title} {form}")
    for _ in range(3):
        assert killed(lambda: run(settings, tmp_path / "killed"), draws.randrange(1, 70))
    assert not killed(lambda: run(settings, tmp_path / "killed"), NEVER)
    assert_same_search(tmp_path / "whole", tmp_path / "killed")


def test_killed_where_encoders_are_handed_on(tmp_path: Path) -> None:
    """The travelling encoder, the stages' heads and their momenta are all that the next step begins from."""
    settings = replace(SETTINGS, formulation=Interleaving(start="previous", updates=2))
    search(settings, tmp_path / "whole")
    assert killed(lambda: run(settings, tmp_path / "killed"), 29)
    assert not killed(lambda: run(settings, tmp_path / "killed"), NEVER)
    assert_same_search(tmp_path / "whole", tmp_path / "killed")


def stopped_after(monkeypatch: pytest.MonkeyPatch, step: int, number: int) -> None:
    """Let a signal come in the middle of a step."""
    inner = mlo.Engine.step

    def watched(self: mlo.Engine, **options: bool) -> mlo.Report:
        if self.step_count + 1 == step:
            os.kill(os.getpid(), number)
        return inner(self, **options)

    monkeypatch.setattr(mlo.Engine, "step", watched)


def words(settings: SearchSettings, folder: Path, out: Path) -> list[str]:
    file = folder / "asked.json"
    file.write_text(to_json(settings))
    return ["search", "--config", str(file), "--out", str(out)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("step", [3, 4, 8])
def test_stopped_by_a_signal(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    step: int,
    number: int,
    code: int,
) -> None:
    """The step is finished and kept; 4 is the last one of an epoch, 8 the last one of all, which stops no more."""
    settings, out = replace(SETTINGS, checkpoint=CheckpointSettings(share=0.001)), tmp_path / "run"
    search(replace(settings), tmp_path / "whole")
    with monkeypatch.context() as patched:
        stopped_after(patched, step, number)
        assert main(words(settings, tmp_path, out)) == (0 if step == 8 else code)
    told = capfd.readouterr().err
    assert "stopping after this step, which is kept; once more to stop at once\n" in told
    if step != 8:
        by = "Ctrl-C" if code == 130 else "SIGTERM"
        assert f"stopped by {by} after step {step} of the search; `mlo-nas search --resume {out}` goes on\n" in told
        assert "Traceback" not in told
        assert len(read_metrics(out)) == step
        assert main(["search", "--resume", str(out)]) == 0
    assert_same_search(tmp_path / "whole", out)
    assert main(["search", "--resume", str(out)]) == 0, "of a search that has finished: what it came to"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_stops_at_once(tmp_path: Path, number: int, code: int) -> None:
    def hang(self: mlo.Engine, **options: bool) -> mlo.Report:
        (tmp_path / "hangs").touch()
        time.sleep(60)
        raise AssertionError

    child = os.fork()
    if child == 0:
        mlo.Engine.step = hang  # type: ignore[method-assign]
        os._exit(main(words(SETTINGS, tmp_path, tmp_path / "run")))
    while not (tmp_path / "hangs").exists():
        time.sleep(0.02)
    os.kill(child, number)
    os.kill(child, number)  # the same wish, sent twice
    time.sleep(1.2)
    assert os.waitpid(child, os.WNOHANG) == (0, 0), "it finishes its step"
    os.kill(child, number)
    start = time.monotonic()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code
    assert time.monotonic() - start < 5


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable() as stopper:
            os.kill(os.getpid(), signal.SIGINT)
            assert stopper.asked() is None
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopper.asked() == signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_cannot_be_resumed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def told(*more: str) -> str:
        assert main(["search", *more]) == 2
        (line,) = capfd.readouterr().err.splitlines()
        return line

    out = tmp_path / "run"
    assert "config.json does not exist" in told("--resume", str(out))
    assert "--resume takes a folder and nothing else" in told("--resume", str(out), "--epochs", "3")
    assert "--resume takes a folder and nothing else" in told("--resume")
    assert killed(lambda: search(SETTINGS, out), 60)
    assert f"{out} holds a search that has not finished: go on with it by `mlo-nas search --resume" in told(
        *words(SETTINGS, tmp_path, out)[1:]
    )
    for name in ("config.json", "splits.json"):
        text = (out / name).read_text()
        (out / name).write_text(text.replace("0", "1", 1) if name == "config.json" else text + " ")
        assert f"{name} is not what it was when the search began: put it back" in told("--resume", str(out))
        (out / name).write_text(text)
    with held(out):
        assert "another process works there (process " in told("--resume", str(out))
    for file in (out / "checkpoints").glob("*/mlo.json"):
        file.write_text("{}")
    assert "but there is none that is whole" in told("--resume", str(out))
    shutil.rmtree(out / "checkpoints")
    assert "holds no checkpoint: search again" in told("--resume", str(out))


def test_the_folder_of_something_else_is_not_taken_for_a_finished_search(tmp_path: Path) -> None:
    write_config(tmp_path, RETRAIN["digits"][1])
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(mlo.ConfigError, match="'RetrainSettings' does not belong here; 'SearchSettings' does"):
        resume(tmp_path)
    write_config(tmp_path, SETTINGS)
    (tmp_path / "genotype.json").write_text(ZOO["DARTS_V1"].to_json())
    for text in (
        "{}",
        '{"steps": "x", "gradients": 1, "seconds": 1}',
        '{"steps": 1e999, "gradients": 1, "seconds": 1}',
    ):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(mlo.DataError, match=r"results\.json is not what a search writes: search again"):
            resume(tmp_path)


def test_one_that_was_stopped_before_its_first_step(tmp_path: Path) -> None:
    search(SETTINGS, tmp_path / "whole")
    for after in range(20, 0, -1):
        folder = tmp_path / str(after)
        assert killed(lambda folder=folder: search(SETTINGS, folder), after)
        if can_resume(folder) and not (folder / "checkpoints" / "step-00000000").exists():
            break
    resume(folder)
    assert_same_search(tmp_path / "whole", folder)


def test_the_one_before_a_damaged_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    search(SETTINGS, tmp_path / "whole")
    assert killed(lambda: search(SETTINGS, tmp_path / "killed"), 90)
    last = max((tmp_path / "killed" / "checkpoints").glob("step-*/mlo.json"))
    last.write_bytes(last.read_bytes()[:-3])
    resume(tmp_path / "killed")
    assert f"{last.parent}: its mlo.json is damaged" in caplog.text
    assert_same_search(tmp_path / "whole", tmp_path / "killed")


def test_a_log_that_lost_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As after a power cut: the search goes on, and says what is missing."""
    assert killed(lambda: search(SETTINGS, tmp_path), 90)
    lines = (tmp_path / "metrics.csv").read_bytes().splitlines(keepends=True)
    (tmp_path / "metrics.csv").write_bytes(b"".join(lines[:2]))
    resume(tmp_path)
    assert "metrics.csv: " in caplog.text
    assert "rows are lost" in caplog.text
    steps = [row["step"] for row in read_metrics(tmp_path)]
    assert steps == sorted(set(steps))
    assert steps[-1] == 8


def test_tensorboard_shows_each_step_once(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for after in (45, 25):
        assert killed(lambda: run(SETTINGS, tmp_path), after)
        time.sleep(1.1)  # event files are ordered by the second in which they were begun
    resume(tmp_path)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = {one.step: one.value for one in events.Scalars("loss/digits")}
    assert [one.step for one in events.Scalars("loss/digits")] == list(range(1, 9))
    assert found == pytest.approx({int(row["step"]): row["loss/digits"] for row in read_metrics(tmp_path)})
