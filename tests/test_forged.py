"""Checkpoints with right checksums that somebody has made up: an error, or an engine that can go on."""

from __future__ import annotations

import json
import random
import shutil
import zipfile

import pytest
import torch

import mlo
from tests.checkpoints import after, small
from tests.damage import damaged, flipped_at, headers
from tests.hostile import VALUES, bombs, hostile_files, places_in, put, reduced_tensor, torch_zip
from tests.reader import Reader
from tests.test_checkpoint_files import reseal


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A checkpoint; not to be changed."""
    folder = tmp_path_factory.mktemp("kept") / "kept"
    mlo.save(after(2), folder, more={"curve": torch.arange(3.0), "best": [1, 2.5, (True, "text", None)]})
    mlo.restore(small(), folder)  # imports what reading needs, before anybody watches
    return folder


@pytest.fixture
def copied(kept, tmp_path):
    return shutil.copytree(kept, tmp_path / "copied")


def test_forged_manifests(copied):
    """In any place anything: an error, or an engine that can go on."""
    text, draw, reader = (copied / "mlo.json").read_text(), random.Random(0), Reader(copied)
    places = [at for at in places_in(json.loads(text)) if at[0] not in ("sha256", "files")]
    changes = ["gone", 20, 70, 300, *[(value,) for value in VALUES]]
    for number in range(1000):
        reseal(copied, put(text, places[number % len(places)], draw.choice(changes)))
        if reader.read():
            if number % 4 == 0:
                reader.engine.step()
            reader.put_back()
    reader.watch.check(least=1000)
    assert 30 < reader.taken < 400, "some of it says nothing, such as the version of torch; most does"


def with_tensors(copied, content, **place):
    """Give each tensor of a checkpoint bytes of its own, all alike, and right checksums."""
    found = json.loads((copied / "mlo.json").read_text())
    for number, one in enumerate(found["tensors"].values()):
        one |= {"offset": number * len(content), "length": len(content), **place}
    (copied / "__0_0.distcp").write_bytes(content * len(found["tensors"]))
    reseal(copied, found)


@pytest.mark.parametrize("shape", [[100], [10**12], [10**6, 10**6], [0], [-1], [2] * 70, [10**30]])
def test_forged_tensors(copied, shape):
    """The bytes of a tensor are hostile, and the manifest fits."""
    reader, kept = Reader(copied), (copied / "mlo.json").read_bytes()
    for content in [*bombs().values(), *list(hostile_files().values())[:: 1 if shape == [100] else 11]]:
        (copied / "mlo.json").write_bytes(kept)
        with_tensors(copied, content, shape=shape)
        assert not reader.read()
    reader.watch.check(least=25)


def test_tensors_that_share_their_bytes(copied, tmp_path):
    """A thousand tensors of the same megabyte: a small file that would fill the memory."""
    found = json.loads((copied / "mlo.json").read_text())
    content = torch_zip(reduced_tensor(), bytes(4 * 2**20))
    place = {"shape": [2**20], "dtype": "float32", "relative_path": "__0_0.distcp", "offset": 0}
    keys = [f"more/{number}" for number in range(1000)]
    found["tensors"] |= {key: {**place, "length": len(content)} for key in keys}
    found["more"] = {"list": [{"tensor": key} for key in keys]}
    (copied / "__0_0.distcp").write_bytes(content)
    reseal(copied, found)
    reader = Reader(copied)
    assert not reader.read()
    reader.watch.check(least=1)


def test_forged_bytes(copied):
    """Damage of the tensors under right checksums: other numbers, or an error, and nothing else."""
    file, reader = copied / "__0_0.distcp", Reader(copied)
    text, content = (copied / "mlo.json").read_text(), file.read_bytes()
    for changed in [*damaged(content, 3, 300), *flipped_at(content, headers(content)[::9])]:
        file.write_bytes(changed)
        reseal(copied, json.loads(text))
        if reader.read():
            reader.put_back()
    reader.watch.check(least=560)
    assert reader.taken > 10


def test_what_is_not_read_may_be_hostile(copied):
    """`.metadata` is for other readers."""
    text, reader = (copied / "mlo.json").read_text(), Reader(copied)
    for content in hostile_files().values():
        (copied / ".metadata").write_bytes(content)
        reseal(copied, json.loads(text))
        assert reader.read()
        reader.put_back()
    reader.watch.check(least=120)


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental:UserWarning")
def test_the_format_is_read_as_others_write_it(kept, copied):
    """The bytes under `data/0` of a file of torch are the numbers, for every type that torch saves."""
    from mlo.checkpoint.storage import DTYPES, checked, digests, read, write

    folder = copied.parent / "types"
    folder.mkdir()
    kinds = [kind for kind in DTYPES.values() if not str(kind).startswith(("torch.q", "torch.bits", "torch.float4"))]
    tensors = {}
    for kind in sorted(set(kinds), key=str):
        try:
            tensors[str(kind)] = torch.arange(6).reshape(2, 3).to(kind)
        except (RuntimeError, NotImplementedError):  # types of less than a byte cannot be made so
            continue
    tensors |= {"empty": torch.empty(0, 3), "number": torch.tensor(2.0), "part": torch.arange(9.0)[2:4]}
    tensors["conjugate"] = torch.tensor([1 + 2j]).conj()
    places = write(folder, tensors)
    with checked(folder, digests(folder)) as streams:
        found = read(folder, streams, places)
    assert len(tensors) > 15
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        one, other = (part.resolve_conj().contiguous().view(-1).view(torch.uint8) for part in (found[name], value))
        assert torch.equal(one, other), name
    assert zipfile.is_zipfile(folder / "__0_0.distcp")
    assert set(digests(folder)) == {"__0_0.distcp", ".metadata"}
