"""Thousands of damaged and hostile checkpoints: none is taken silently, crashes the process or runs code.

With those of `test_forged.py`, `nas/test_corruption.py` and `nas/test_corruption_text.py` they are more than 11,000;
each test asserts how many it had.
"""

from __future__ import annotations

import shutil

import pytest
import torch

import mlo
from tests.checkpoints import after, assert_same, small
from tests.damage import Watch, damaged, flipped_at, headers
from tests.hostile import hostile_files
from tests.reader import Reader

MORE = {"curve": torch.arange(3.0), "best": [1, 2.5, (True, "text", None)]}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Two checkpoints of one run, `a` and `b`, and one of another run; not to be changed."""
    folder = tmp_path_factory.mktemp("kept")
    mlo.save(after(1), folder / "a", more=MORE)
    mlo.save(after(2), folder / "b", more=MORE)
    engine = small(outer=None)
    engine.step()
    engine.rewind(after(1).snapshot())
    torch.manual_seed(5)
    mlo.save(engine, folder / "other", more={"other": 1})
    mlo.restore(small(), folder / "a")  # imports what reading needs, before anybody watches
    return folder


@pytest.fixture
def copied(kept, tmp_path):
    return shutil.copytree(kept / "b", tmp_path / "copied")


@pytest.mark.parametrize(("name", "many"), [("mlo.json", 1000), ("__0_0.distcp", 800), (".metadata", 400)])
def test_a_damaged_file(copied, name, many):
    file, reader = copied / name, Reader(copied)
    content = file.read_bytes()
    others = [other.read_bytes() for other in copied.iterdir() if other != file]
    for changed in damaged(content, 0, many, [*others, *hostile_files().values()]):
        file.write_bytes(changed)
        assert not reader.read()
    reader.watch.check(least=many)


def test_one_bit_at_every_place_of_the_structure(copied):
    tensors, reader = copied / "__0_0.distcp", Reader(copied)
    content = tensors.read_bytes()
    places = headers(content)[::4]
    for changed in flipped_at(content, places):
        tensors.write_bytes(changed)
        assert not reader.read()
    tensors.write_bytes(content)
    manifest = copied / "mlo.json"
    content = manifest.read_bytes()
    signs = [place for place, sign in enumerate(content) if sign in b'{}[]:,"'][::4]
    for changed in flipped_at(content, signs):
        manifest.write_bytes(changed)
        assert not reader.read()
    reader.watch.check(least=800)


def test_files_of_several_checkpoints(kept, copied):
    """Every mixture of the files of three checkpoints, each whole in itself."""
    names, reader = ("mlo.json", "__0_0.distcp", ".metadata"), Reader(copied)
    files = [[(kept / run / name).read_bytes() for run in ("a", "b", "other")] for name in names]
    mixtures = [(one, two, three) for one in range(3) for two in range(3) for three in range(3)]
    for chosen in mixtures:
        found = [files[index][run] for index, run in enumerate(chosen)]
        for name, content in zip(names, found, strict=True):
            (copied / name).write_bytes(content)
        assert reader.read() is any([*found] == [file[run] for file in files] for run in range(3))
        if reader.taken:
            reader.put_back()
    assert reader.taken == 3


def test_several_files_are_damaged(copied):
    reader = Reader(copied)
    files = {file: file.read_bytes() for file in copied.iterdir()}
    streams = [damaged(content, seed, 200) for seed, content in enumerate(files.values())]
    for number, changed in enumerate(zip(*streams, strict=True)):
        for index, (file, content) in enumerate(files.items()):
            file.write_bytes(content if number % 3 == index else changed[index])
        assert not reader.read()
    reader.watch.check(least=200)


@pytest.mark.filterwarnings("ignore::mlo.DamagedWarning")
def test_the_last_good_one_of_a_series(kept, tmp_path):
    """Of three, the newer one or two are damaged: the next is taken, bit for bit, and the file is named."""
    series, goal = mlo.Checkpoints(tmp_path / "run"), {number: after(number) for number in (1, 2, 3)}
    for number, engine in goal.items():
        series.save(engine, more=[number])
    files = [sorted((series.folder / f"step-{number:08d}").iterdir()) for number in (2, 3)]
    files = [[file for file in folder if file.name != ".metadata"] for folder in files]
    content = {file: file.read_bytes() for folder in files for file in folder}
    streams = {file: damaged(text, seed, 200) for seed, (file, text) in enumerate(content.items())}
    watch, made = Watch(), small()
    for number in range(120):
        for file, text in content.items():
            file.write_bytes(text)
        hit = files[1:] if number % 2 else files
        for folder in hit:
            chosen = folder[number % len(folder)]
            chosen.write_bytes(next(streams[chosen]))
        with watch.reading():
            found = series.restore(made)
        whole = 3 - len(hit)
        assert (found.number, found.more) == (whole, [whole])
        assert_same(made, goal[whole])
    watch.check(least=120)
