"""The folder of a run: made late, never shared, never overwritten; files whole or not at all."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from applications.nas.config_file import to_json
from applications.nas.run_folder import (
    MetricsFile,
    new_folder,
    read_genotype,
    read_results,
    read_search_settings,
    write_config,
    write_text,
)
from applications.nas.settings import RetrainSettings, SearchSettings
from applications.nas.space.zoo import ZOO
from mlo import ConfigError, DataError


def test_runs_are_numbered(tmp_path: Path) -> None:
    for number in (1, 2):
        with new_folder(None, tmp_path / "runs", "digits") as folder:
            assert folder == tmp_path / "runs" / f"digits-{number}"
    (tmp_path / "runs/digits-1").rmdir()
    with new_folder(None, tmp_path / "runs", "digits") as folder:
        assert folder.name == "digits-1", "the first free number"


def test_two_runs_never_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.name != "digits-1" and exists(path))  # as a race would see it
    (tmp_path / "digits-1").mkdir()
    with (
        pytest.raises(ConfigError, match=r"digits-1 cannot be made \(File exists\)"),
        new_folder(None, tmp_path, "digits"),
    ):
        pass


def test_a_named_folder_may_be_new_or_empty(tmp_path: Path) -> None:
    for _ in range(2):
        with new_folder(tmp_path / "a/b", tmp_path, "unused") as folder:
            assert folder == tmp_path / "a/b"
            assert folder.is_dir()


@pytest.mark.parametrize("kind", ["full", "file", "below a file"])
def test_a_named_folder_that_is_taken(kind: str, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    for file in ("full/keep", "file"):
        (tmp_path / file).write_text("mine")
    wanted = tmp_path / {"full": "full", "file": "file", "below a file": "file/run"}[kind]
    with pytest.raises(ConfigError, match=rf"{wanted} .*another with --out"), new_folder(wanted, tmp_path, "x"):
        pass
    assert (tmp_path / "full/keep").read_text() == (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("error", [ConfigError("no"), KeyboardInterrupt()])
def test_a_run_that_wrote_nothing_leaves_nothing(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)), new_folder(None, tmp_path / "runs", "digits"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_keeps_what_it_wrote_and_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()

    def fail(name: str, *, text: str) -> None:
        with new_folder(tmp_path / name, tmp_path, "x") as folder:
            if text:
                (folder / "metrics.csv").write_text(text)
            raise ConfigError("no")

    for name, text in (("run", "step"), ("mine", "")):
        with pytest.raises(ConfigError):
            fail(name, text=text)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["failure.txt", "metrics.csv", "mine", "run"]
    assert (tmp_path / "run" / "failure.txt").read_text() == f"no (what was done until then is in {tmp_path / 'run'})\n"


def test_text_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.json"
    write_text(file, "old")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(DataError, match=r"a.json cannot be written \(disk full\): free some space"):
            write_text(file, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert file.read_text() == "old"
    write_text(file, "ä = 1")
    assert file.read_bytes() == "ä = 1".encode()
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_folder_that_is_gone_or_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place, why in (("gone", "No such file or directory"), ("file", "Not a directory")):
        with pytest.raises(DataError, match=rf"{place}/a.json cannot be written \({why}\)"):
            write_text(tmp_path / place / "a.json", "new")


def test_metrics_are_on_disk_row_by_row(tmp_path: Path) -> None:
    with MetricsFile(tmp_path / "m.csv") as metrics:
        for step in (1, 2):
            metrics.write({"step": step, "loss/a,b": 0.1 + 0.2})
            with (tmp_path / "m.csv").open(newline="") as file:
                found = list(csv.DictReader(file))
            assert len(found) == step
    assert float(found[0]["loss/a,b"]) == 0.1 + 0.2, "no digit is lost"
    assert metrics.rows == [{"step": step, "loss/a,b": 0.1 + 0.2} for step in (1, 2)]


def test_settings_are_read_from_a_folder_or_a_file(tmp_path: Path) -> None:
    settings = SearchSettings(epochs=3)
    write_config(tmp_path, settings)
    assert read_search_settings(tmp_path) == read_search_settings(tmp_path / "config.json") == settings
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert {"python", "torch", "torchopt", "gpu", "mlo-torch"} <= set(environment)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "config.json does not exist: give the folder"),
        (b"\xff\xfe", "config.json cannot be read as text"),
        (b"{}x", "config.json is not JSON"),
        (to_json(RetrainSettings()).encode(), "config.json: kind 'RetrainSettings' does not belong here"),
    ],
)
def test_settings_that_cannot_be_read(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises((ConfigError, DataError), match=message):
        read_search_settings(tmp_path)


def test_a_cell_is_read_from_the_zoo_a_file_or_a_folder(tmp_path: Path) -> None:
    cell = ZOO["PDARTS"]
    write_text(tmp_path / "genotype.json", cell.to_json())
    assert read_genotype("PDARTS") == read_genotype(tmp_path) == read_genotype(str(tmp_path / "genotype.json")) == cell


@pytest.mark.parametrize(
    ("files", "source", "message"),
    [
        (
            {},
            "nope",
            r"nope: no genotype there \(neither a file nor a published cell\); published cells are .*DARTS_V2",
        ),
        ({"config.json": "{}"}, ".", "the search has not finished"),
        ({}, ".", "that is no folder of a search"),
        ({"genotype.json": "{"}, ".", "not valid JSON"),
        ({"genotype.json": "\xff"}, ".", "cannot be read as text"),
    ],
)
def test_a_cell_that_is_not_there(files: dict[str, str], source: str, message: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=message):
        read_genotype(tmp_path / source)


@pytest.mark.parametrize(
    ("text", "message"), [(None, "cannot be read"), ("", "is not JSON"), ("[]", "holds no JSON object, but a list")]
)
def test_results_that_are_not_there(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(DataError, match=rf"results\.json {message}"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text('{"gradients": 70}')
    assert read_results(tmp_path) == {"gradients": 70}


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    file = tmp_path / "results.json"
    write_text(file, "before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"results\.json cannot be written \(No space left on device\): free some"):
        write_text(file, "after")
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]
