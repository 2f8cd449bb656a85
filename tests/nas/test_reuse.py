"""Points that another sweep has finished with the same settings."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from applications.nas.commands import sweep as command
from applications.nas.report.read import find_runs
from applications.nas.run_folder import write_text
from applications.nas.settings import Interleaving
from applications.nas.sweep import reuse as reuse_module
from applications.nas.sweep.launch.local import LocalLauncher
from applications.nas.sweep.plan import Axis, SweepSettings
from applications.nas.sweep.reuse import TAKEN, ran_by
from applications.nas.sweep.run import sweep
from applications.nas.sweep.study import Part, StudySettings
from mlo import ConfigError
from tests.nas.made_world import World
from tests.nas.test_study_run import STUDY, TINY, world

OTHER = replace(
    STUDY, name="other", parts=(Part("rounds", TINY, (Axis("formulation.rounds", ("1", "2", "3")),)),), random=0
)
"""Of it, only two rounds at lambda = 1 and 10 would be in STUDY; TINY itself has lambda = 20."""


__all__ = ["world"]


def at_ten(settings: StudySettings) -> StudySettings:
    return replace(
        settings, parts=(replace(settings.parts[0], search=replace(TINY, formulation=Interleaving(weight=10.0))),)
    )


def run(folder: Path, settings: StudySettings, *reuse: Path) -> str:
    log = io.StringIO()
    sweep(settings, folder, Console(file=log, width=300), launcher=LocalLauncher(2), reuse=reuse)
    return log.getvalue()


def kept(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_what_has_the_same_settings_is_copied_and_the_rest_is_run(world: World, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run(one, STUDY)
    world.searched.clear()
    before = kept(one)
    told = run(two, at_ten(OTHER), one)
    assert world.searched == [f"rounds,rounds={rounds},seed={seed}" for seed in (0, 1) for rounds in (1, 3)]
    assert "2 of 6 missing points are taken from other sweeps" in told
    assert f"rounds,rounds=2,seed=0: taken from {one / 'curve,weight=10,seed=0'} (unknown code)" in told
    target, source = kept(two / "rounds,rounds=2,seed=1"), kept(one / "curve,weight=10,seed=1")
    assert target.pop(TAKEN) == f"{one / 'curve,weight=10,seed=1'}\n".encode()
    assert target == source
    assert "rounds,rounds=2,seed=1" in (two / "points.csv").read_text()
    assert kept(one) == before, "what is copied from stays as it is"


@pytest.mark.parametrize("changed", ["search", "retrain", "not there", "unfinished", "failed", "broken", "half a copy"])
def test_what_differs_is_not_taken(changed: str, world: World, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run(one, STUDY)
    settings = at_ten(OTHER)
    if changed == "search":
        part = settings.parts[0]
        settings = replace(settings, parts=(replace(part, search=replace(part.search, batch=301)),))
    elif changed == "retrain":
        settings = replace(settings, retrain=replace(settings.retrain, epochs=2))
    for place in one.glob("curve,weight=10,*"):
        if changed == "not there":
            (place / "retrain" / "results.json").unlink()
        elif changed == "unfinished":  # pages are still written
            (place / "retrain" / "unfinished.json").write_text("{}")
        elif changed == "failed":
            (place / "failure.txt").write_text("boom")
        elif changed == "broken":
            (place / "config.json").write_bytes(b"\xff\xfe")
        elif changed == "half a copy":
            place.rename(one / f".copy-{place.name}")
    world.searched.clear()
    assert "0 of 6 missing points are taken" in run(two, settings, one)
    assert len(world.searched) == 6


def test_a_folder_that_is_no_sweep_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--reuse .*none: there is no sweep.json in it"):
        run(tmp_path / "two", OTHER, tmp_path / "none")
    assert not (tmp_path / "two").exists(), "nothing has run"


def test_a_copy_that_was_cut_short_is_no_point(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run(one, STUDY)

    def cut(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reuse_module, "write_text", cut)
    with pytest.raises(OSError, match="No space left"):
        run(two, at_ten(OTHER), one)
    monkeypatch.setattr(reuse_module, "write_text", write_text)
    assert {place.name for place in two.iterdir()} == {"sweep.json", ".lock"}
    assert "2 of 6 missing points are taken" in run(two, at_ten(OTHER), one)


def test_a_sweep_without_retraining_takes_the_search_alone(world: World, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run(one, STUDY)
    part = at_ten(OTHER).parts[0]
    sweep_alone = SweepSettings(part.search, (*part.axes, Axis("seed", ("0", "1"))))
    log = io.StringIO()
    sweep(sweep_alone, two, Console(file=log, width=300), launcher=LocalLauncher(2), reuse=[one])
    assert "2 of 6 missing points are taken" in log.getvalue()
    assert (two / "rounds=2,seed=0" / TAKEN).is_file()
    assert not (two / "rounds=2,seed=0" / "retrain").exists()


def test_it_is_told_which_code_ran_a_point(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text('{"commit": "abc, changed since", "torch": "2.13.0"}')
    assert ran_by(tmp_path) == "commit abc, changed since, torch 2.13.0"
    (tmp_path / "environment.json").write_text("[1]")
    assert ran_by(tmp_path) == "unknown code"


def test_a_dry_run_tells_what_would_be_taken(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run(one, STUDY)
    run(two, at_ten(OTHER))
    (two / "rounds,rounds=2,seed=1").rename(two / ".away")
    command.run(["--resume", str(two), "--reuse", str(one), "--dry-run"], Console(file=io.StringIO()))
    told = f"would be taken: rounds,rounds=2,seed=1 from {one / 'curve,weight=10,seed=1'} (unknown code)\n"
    assert told in capsys.readouterr().out
    (one / "sweep.json").unlink()
    with pytest.raises(ConfigError, match="--reuse"):
        command.run(["--resume", str(two), "--reuse", str(one), "--dry-run"], Console(file=io.StringIO()))


def test_a_report_does_not_read_half_a_copy(world: World, tmp_path: Path) -> None:
    run(tmp_path, STUDY)
    count = len(find_runs([tmp_path]).retrained)
    shutil.copytree(tmp_path / "curve,weight=10,seed=0", tmp_path / ".copy-curve,weight=10,seed=0")
    assert len(find_runs([tmp_path]).retrained) == count
