"""The last checkpoints of a run: what is kept, what is taken when one is damaged, and what a user adds."""

from __future__ import annotations

import shutil
from collections import OrderedDict

import pytest
import torch

import mlo
from tests.checkpoints import after, assert_same, small


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def series(tmp_path):
    """Three checkpoints, after 1, 2 and 3 steps."""
    found, engine = mlo.Checkpoints(tmp_path / "run", keep=3), small()
    for step in range(1, 4):
        engine.step()
        found.save(engine, more={"curve": list(range(step))})
    return found


def test_the_last_ones_are_kept(series):
    engine = after(4)
    assert series.save(engine).name == "step-00000004"
    assert names(series.folder) == ["step-00000002", "step-00000003", "step-00000004"]
    mlo.Checkpoints(series.folder, keep=1).save(after(5))
    assert names(series.folder) == ["step-00000005"]


def test_what_a_run_has_left_behind_is_removed(series):
    series.save(after(2))
    assert names(series.folder) == ["step-00000001", "step-00000002"]
    (series.folder / ".step-00000009.mlo-new").mkdir()  # as a save that was killed leaves it
    (series.folder / "mine").mkdir()
    series.save(after(3), number=7)
    assert names(series.folder) == ["mine", "step-00000001", "step-00000002", "step-00000007"]


def test_a_run_that_begins_finds_none(tmp_path):
    assert mlo.Checkpoints(tmp_path / "nowhere").restore(small()) is None
    assert mlo.Checkpoints(tmp_path).latest() is None


def damage(folder, how):
    if how == "no manifest":
        (folder / "mlo.json").unlink()
    elif how == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    else:
        file = next(folder.glob("*.distcp")) if how == "tensors" else folder / "mlo.json"
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 4
        file.write_bytes(content)


@pytest.mark.filterwarnings("ignore::mlo.DamagedWarning")  # but where they are looked for
@pytest.mark.parametrize("how", ["tensors", "manifest", "no manifest", "empty"])
def test_the_last_good_one_is_taken(series, how):
    damage(series.folder / "step-00000003", how)
    made = small()
    with pytest.warns(
        mlo.DamagedWarning, match=r"step-00000003.*: take an earlier checkpoint; the one before is|no mlo"
    ):
        kept = series.restore(made)
    assert (kept.number, kept.folder.name, kept.more) == (2, "step-00000002", {"curve": [0, 1]})
    assert_same(made, after(2))
    for number in (1, 2):
        damage(series.folder / f"step-{number:08d}", how)
    with pytest.raises(mlo.DamagedError, match=r"step-00000003.*there is none that is whole"):
        series.restore(made)
    assert_same(made, after(2))


def test_one_of_other_problems_is_not_passed_over(series):
    with pytest.raises(mlo.DataError, match="problem 'w' was there, and is not"):
        series.restore(small(name="u"))


def test_a_replacement_that_was_cut_short(series):
    folder = series.folder / "step-00000003"
    folder.rename(series.folder / ".step-00000003.mlo-old")
    made = small()
    assert series.restore(made).number == 3
    assert_same(made, after(3))
    series.save(after(4))
    series.save(after(5))
    series.save(after(6))
    assert names(series.folder) == [f"step-0000000{number}" for number in (4, 5, 6)]


MORE = [
    None,
    {"best": 0.1, "nan": [float("inf")], "curve": torch.arange(3), 3: (True, "text", None)},
    OrderedDict(a=torch.ones(2, 2, dtype=torch.bfloat16)),
    torch.tensor(2.0),
]


@pytest.mark.parametrize("more", MORE)
def test_what_a_user_adds(tmp_path, more):
    mlo.save(after(1), tmp_path / "kept", more=more)
    found = mlo.restore(small(), tmp_path / "kept")
    assert type(found) is type(more)
    assert repr(found) == repr(more)


def test_what_cannot_be_added(tmp_path):
    with pytest.raises(mlo.DataError, match=r"more/a: a state with a set in it cannot be kept"):
        mlo.save(after(1), tmp_path / "kept", more={"a": {1}})
    for keep in (0, True, 1.5):
        with pytest.raises(mlo.ConfigError, match="Checkpoints: keep must be a whole number >= 1"):
            mlo.Checkpoints(tmp_path, keep=keep)
    with pytest.raises(mlo.ConfigError, match=r"number must be a whole number >= 0"):
        mlo.Checkpoints(tmp_path).save(small(), number=-1)
