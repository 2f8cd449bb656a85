"""A disk that is full, fails or turns read-only, at every thing that a save asks of it: the checkpoint before stays."""

from __future__ import annotations

import os
import resource

import pytest
import torch

import mlo
from tests.checkpoints import after, assert_same, small
from tests.faults import Faults, each_fault


@pytest.fixture(scope="module", autouse=True)
def _imports(tmp_path_factory):
    """All that a save imports is there before the disk fails."""
    mlo.save(small(), tmp_path_factory.mktemp("first") / "kept")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def told(error, name):
    message = str(error)
    assert isinstance(error, mlo.DataError), error
    assert "\n" not in message
    assert name in message
    assert message.endswith(": free some space, or choose another folder"), message


def same(left, right):
    return left.step_count == right.step_count


@pytest.mark.parametrize("onward", [False, True])
def test_a_save_that_fails_at_any_place(tmp_path, monkeypatch, onward):
    """The folder has the checkpoint of before, or the new one, whole; and the next save cleans up."""
    folder, old, new, made = tmp_path / "kept", after(1), after(2), small()

    def work():
        mlo.save(new, folder)

    seen, silent = set(), 0
    for what, error in each_fault(monkeypatch, work, before=lambda: mlo.save(old, folder), onward=onward):
        seen.add(what)
        if error is None:
            silent += 1  # what is only tidied up may stay where it is
        else:
            told(error, "kept")
        mlo.restore(made, folder)
        assert made.step_count in (1, 2)
        assert_same(made, old if made.step_count == 1 else new)
        assert error is not None or made.step_count == 2, what
        if error is not None and not onward:
            assert names(tmp_path) == ["kept"], what
        new.step()
        new.rewind(after(2).snapshot())  # the engine goes on
    mlo.save(old, folder)
    assert names(tmp_path) == ["kept"]
    assert {"open to write", "write", "fsync", "mkdir", "rename"} <= seen
    assert silent < 20, "the removal of what is old"


@pytest.mark.filterwarnings("error")
def test_a_series_that_fails_at_any_place(tmp_path, monkeypatch):
    series, goal, made = mlo.Checkpoints(tmp_path / "run", keep=2), [after(number) for number in range(4)], small()
    for engine in goal[1:3]:
        series.save(engine, more=engine.step_count)

    def work():
        series.save(goal[3], more=3)

    for _, error in each_fault(monkeypatch, work):
        if error is not None:
            told(error, "step-00000003")
        kept = series.restore(made)
        assert kept.more == kept.number == made.step_count
        assert kept.number == 3 or (error is not None and kept.number == 2)
        assert_same(made, goal[kept.number])
        series.save(goal[2], more=2)  # removes the third
        series.save(goal[1], more=1, number=1)
        series.save(goal[2], more=2)
        assert names(series.folder) == ["step-00000001", "step-00000002"]


def test_a_disk_that_is_really_full(tmp_path):
    """The system itself refuses to let files grow; the limit is lifted again afterwards."""
    folder, old, made = tmp_path / "kept", after(1), small()
    mlo.save(old, folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (0, 1, 1000, 5000, 9000, 12_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            with pytest.raises(mlo.DataError) as caught:
                mlo.save(after(2), folder, more=torch.zeros(size // 8))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        told(caught.value, "kept")
        assert "File too large" in str(caught.value)
        assert names(tmp_path) == ["kept"]
        mlo.restore(made, folder)
        assert_same(made, old)


def test_a_disk_that_cannot_be_read(tmp_path, monkeypatch):
    series, made = mlo.Checkpoints(tmp_path / "run"), small()
    series.save(after(1))
    before = made.snapshot()

    def broken(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    for name, calls in {
        "listdir": [series.latest, lambda: series.restore(made)],
        "stat": [lambda: mlo.restore(made, series.folder / "step-00000001"), series.latest],
    }.items():
        for call in calls:
            monkeypatch.setattr(os, name, broken)
            with pytest.raises(mlo.DataError, match=r"run.*Permission denied.*: ") as caught:
                call()
            monkeypatch.undo()
            assert "\n" not in str(caught.value)
    assert all(before.params[name] is made.snapshot().params[name] for name in before.params)


def test_reading_asks_nothing_of_the_disk_but_to_read(tmp_path, monkeypatch):
    series, made = mlo.Checkpoints(tmp_path / "run"), small()
    series.save(after(1))
    with Faults(monkeypatch, 0, onward=True) as faults:
        series.restore(made)
    assert faults.asked == []
    assert_same(made, after(1))
