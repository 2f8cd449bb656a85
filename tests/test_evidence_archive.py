"""The folder of a study as one small file, and back."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from applications.nas.settings import FolderData
from applications.nas.sweep.folder import read_sweep
from applications.nas.sweep.launch.local import LocalLauncher
from applications.nas.sweep.plan import SweepSettings
from applications.nas.sweep.point import finished
from applications.nas.sweep.run import sweep
from applications.nas.sweep.study import StudySettings, swept_points
from benchmarks.evidence import archive as archive_module
from benchmarks.evidence.archive import pack, unpack
from mlo import ConfigError
from tests.nas.made_world import World
from tests.nas.test_study_run import STUDY, TINY, world

__all__ = ["world"]


def run(folder: Path, settings: StudySettings | SweepSettings, *reuse: Path) -> None:
    sweep(settings, folder, Console(file=io.StringIO()), launcher=LocalLauncher(2), reuse=reuse)


def test_there_and_back(world: World, tmp_path: Path) -> None:
    study, back = tmp_path / "study", tmp_path / "back"
    run(study, STUDY)
    (study / "curve,weight=1,seed=1" / "retrain" / "results.json").unlink()
    (study / "random-0" / "checkpoint.pt").write_bytes(b"large")
    place = pack(study, tmp_path / "results")
    assert place == tmp_path / "results" / "mine"
    unpack("mine", back, tmp_path / "results")
    settings = read_sweep(back)
    assert settings == STUDY
    plan = swept_points(settings)
    assert [point.name for point in plan if not finished(back / point.name, point)] == ["curve,weight=1,seed=1"]
    assert not (back / "random-0" / "checkpoint.pt").exists()
    world.searched.clear()
    run(back, STUDY)
    assert world.searched == ["curve,weight=1,seed=1"], "it goes on where it was"
    run(study, STUDY)
    assert (back / "points.csv").read_text() == (study / "points.csv").read_text()


def test_the_same_runs_are_the_same_file(world: World, tmp_path: Path) -> None:
    run(tmp_path / "study", STUDY)
    first = (pack(tmp_path / "study", tmp_path / "a") / "runs.tar.gz").read_bytes()
    assert (pack(tmp_path / "study", tmp_path / "b") / "runs.tar.gz").read_bytes() == first


def test_no_path_of_a_machine_is_kept(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("applications.nas.sweep.run._check", lambda *_, **__: None)  # there are no images
    images = replace(TINY, data=FolderData(roots=(tmp_path / "far/a", tmp_path / "far/b")))
    parts = tuple(replace(part, search=images, axes=part.axes[1:]) for part in STUDY.parts[1:])
    settings = replace(STUDY, parts=tuple(replace(part, reference="") for part in parts))
    run(tmp_path / "first", settings)
    run(tmp_path / "study", settings, tmp_path / "first")
    place = pack(tmp_path / "study", tmp_path / "results")
    texts = {name: content.decode() for name, content in archive_module._entries(place / "runs.tar.gz").items()}
    assert any(name.endswith("taken-from.txt") for name in texts)
    assert [name for name, text in texts.items() if str(tmp_path) in text] == []
    monkeypatch.chdir(tmp_path)
    unpack("mine", tmp_path / "back", tmp_path / "results")
    config = json.loads((tmp_path / "back" / "curve,seed=0" / "config.json").read_text())
    assert config["data"]["roots"] == [str(tmp_path / "data" / name) for name in ("a", "b")]
    plan = swept_points(read_sweep(tmp_path / "back"))
    assert all(finished(tmp_path / "back" / point.name, point) for point in plan)


def test_what_cannot_be_kept_or_found_is_refused(world: World, tmp_path: Path) -> None:
    run(tmp_path / "sweep", SweepSettings(TINY, STUDY.parts[1].axes, STUDY.retrain))
    with pytest.raises(ConfigError, match="is a sweep, and no study"):
        pack(tmp_path / "sweep", tmp_path)
    with pytest.raises(ConfigError, match=r"runs.tar.gz is not there: pack the folder of mine first"):
        unpack("mine", tmp_path / "back", tmp_path)
    run(tmp_path / "study", STUDY)
    pack(tmp_path / "study", tmp_path)
    with pytest.raises(ConfigError, match="is not empty: name another"):
        unpack("mine", tmp_path / "study", tmp_path)


def test_a_study_is_not_written_over_another(world: World, tmp_path: Path) -> None:
    run(tmp_path / "study", STUDY)
    place = pack(tmp_path / "study", tmp_path)
    run(tmp_path / "seeds", replace(STUDY, seeds=(5,)))
    before = (place / "points.csv").read_bytes()
    with pytest.raises(ConfigError, match=r"runs.tar.gz holds another study \(other seeds"):
        pack(tmp_path / "seeds", tmp_path)
    assert (place / "points.csv").read_bytes() == before
    pack(tmp_path / "study", tmp_path)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "sweep.json").write_bytes((tmp_path / "study" / "sweep.json").read_bytes())
    with pytest.raises(ConfigError, match="no point of this study has finished"):
        pack(tmp_path / "new", tmp_path)


def test_folders_of_images_in_their_published_form_are_moved(tmp_path: Path) -> None:
    for root, there in (("/far/data", "data"), ("/far/data/imagenet", "data/imagenet"), ("cifar", "data/cifar")):
        content = {"data": {"kind": "CifarData", "root": root}}
        archive_module._move(content, Path("data"))
        assert content["data"]["root"] == there


def test_an_archive_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with tarfile.open(tmp_path / "mine" / "runs.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../out.json"))
    with pytest.raises(ConfigError, match="leads out of the folder"):
        unpack("mine", tmp_path / "back", tmp_path)
    assert not (tmp_path / "out.json").exists()
