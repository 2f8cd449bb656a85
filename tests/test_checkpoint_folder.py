"""The folder of a checkpoint is replaced by a whole one or not at all, and nothing else is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from torch.distributed.checkpoint.filesystem import FileSystem

import mlo
from tests.checkpoints import after, assert_same, small


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def test_a_checkpoint_is_replaced(tmp_path):
    folder = tmp_path / "some" / "folder"
    one, other = after(1), small()
    mlo.save(one, folder)
    one.step()
    mlo.save(one, str(folder))
    mlo.restore(other, folder)
    assert_same(one, other)
    assert names(tmp_path / "some") == ["folder"]
    assert names(folder) == [".metadata", "__0_0.distcp", "mlo.json"]


def test_an_empty_folder_is_used_and_a_link_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    one, other = after(1), small()
    for _ in range(2):
        mlo.save(one, tmp_path / "link")
    mlo.restore(other, tmp_path / "real")
    assert_same(one, other)
    assert names(tmp_path) == ["link", "real"]


def test_nothing_else_is_replaced(tmp_path):
    mlo.save(small(), tmp_path / "copied")
    copied = tmp_path / "copied"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    with pytest.raises(mlo.DataError, match=r"mine: holds 'thesis.tex', .* choose a folder"):
        mlo.save(small(), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years"
    (copied / "notes.txt").write_text("good")
    with pytest.raises(mlo.DataError, match=r"copied: holds 'notes\.txt'"):
        mlo.save(small(), copied)
    (tmp_path / "file").write_text("text")
    with pytest.raises(mlo.DataError, match="file: cannot be written"):
        mlo.save(small(), tmp_path / "file")
    assert names(tmp_path) == ["copied", "file", "mine"]


@pytest.mark.parametrize("when", ["tensors", "manifest", "first rename", "second rename"])
def test_a_save_that_fails_leaves_the_one_before(tmp_path, monkeypatch, when):
    """Every place where a disk may be full, or a process be interrupted."""
    folder, one, other = tmp_path / "kept", after(1), small()
    mlo.save(one, folder)
    fail_at(monkeypatch, when)
    with pytest.raises(mlo.DataError, match=r"kept: cannot be written \(No space left on device\): free"):
        mlo.save(after(3), folder)
    monkeypatch.undo()
    assert names(tmp_path) == ["kept"]
    mlo.restore(other, folder)
    assert_same(one, other)


def fail_at(monkeypatch, when):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if when == "tensors":
        monkeypatch.setattr(FileSystem, "create_stream", full)
    elif when == "manifest":
        monkeypatch.setattr("mlo.checkpoint.writing.written", full)
    else:
        rename = Path.rename
        source = "kept" if when == "first rename" else ".kept.mlo-new"
        monkeypatch.setattr(Path, "rename", lambda at, to: full() if at.name == source else rename(at, to))


@pytest.mark.parametrize("when", ["first rename", "second rename", "removal"])
def test_a_save_that_is_killed_leaves_a_whole_one(tmp_path, monkeypatch, when):
    """As after kill -9: nothing is tidied up."""
    folder, one, two, other = tmp_path / "kept", after(1), after(2), small()
    mlo.save(one, folder)
    rename, killed = Path.rename, []

    def dying(at, to):
        source = {"first rename": "kept", "second rename": ".kept.mlo-new"}.get(when)
        if killed or at.name == source:
            killed.append(1)
            raise KeyboardInterrupt
        return rename(at, to)

    def stay(path, **options):
        if when == "removal" and path.name == ".kept.mlo-old" and path.exists():
            killed.append(1)
            raise KeyboardInterrupt
        if not killed:
            shutil_rmtree(path, **options)

    shutil_rmtree = shutil.rmtree
    monkeypatch.setattr(Path, "rename", dying)
    monkeypatch.setattr(shutil, "rmtree", stay)
    with pytest.raises(KeyboardInterrupt):
        mlo.save(two, folder)
    monkeypatch.undo()
    assert names(tmp_path) != ["kept"]  # it was not tidied up
    mlo.restore(other, folder)
    assert_same(two if when == "removal" else one, other)
    mlo.save(after(4), folder)
    assert names(tmp_path) == ["kept"]
    mlo.restore(other, folder)
    assert_same(after(4), other)
