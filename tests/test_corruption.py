"""Thousands of damaged and hostile checkpoints: none is taken silently, crashes the process or runs code.

With those of `tests/nas/test_corruption.py` they are more than 11,000; each test asserts how many it had.
"""

from __future__ import annotations

import json
import random
import shutil
import warnings
import zipfile

import numpy
import pytest
import torch

import mlo
from tests.checkpoints import after, assert_same, small
from tests.damage import Watch, damaged, flipped_at, hostile_files, reduced_tensor, torch_zip
from tests.test_checkpoint_files import reseal

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


class Reader:
    """An engine that reads one checkpoint after another, and must never be changed by it."""

    def __init__(self, folder):
        self.watch, self.folder, self.engine, self.taken = Watch(), folder, after(1), 0
        self._before, self._chance = self.engine.snapshot(), torch.get_rng_state()
        self._numpy, self._random = numpy.random.get_state()[1].copy(), random.getstate()

    def read(self):
        """Restore; return whether it was taken, and else see that all is as it was."""
        try:
            with self.watch.reading():
                mlo.restore(self.engine, self.folder)
        except mlo.DataError as error:
            message = str(error)
            assert "\n" not in message
            assert self.folder.name in message or message.startswith("problem ")
            assert len(message) < 1000
            self._check_unchanged()
            return False
        self.taken += 1
        return True

    def put_back(self):
        self.engine.rewind(self._before)
        torch.set_rng_state(self._chance)
        numpy.random.seed(0)
        random.setstate(self._random)
        self._numpy = numpy.random.get_state()[1].copy()

    def _check_unchanged(self):
        now = self.engine.snapshot()
        for held in ("params", "buffers", "states", "adjoints"):
            old, new = getattr(self._before, held), getattr(now, held)
            assert all(old[name] is new[name] for name in {**old, **new})
        assert (now.step_count, now.unconverged) == (self._before.step_count, self._before.unconverged)
        assert torch.equal(self._chance, torch.get_rng_state())
        assert numpy.array_equal(self._numpy, numpy.random.get_state()[1])
        assert random.getstate() == self._random


@pytest.mark.parametrize(("name", "many"), [("mlo.json", 1000), ("__0_0.distcp", 800), (".metadata", 400)])
def test_a_damaged_file(copied, name, many):
    file, reader = copied / name, Reader(copied)
    content = file.read_bytes()
    others = [other.read_bytes() for other in copied.iterdir() if other != file]
    for changed in damaged(content, 0, many, [*others, *hostile_files().values()]):
        file.write_bytes(changed)
        assert not reader.read()
    reader.watch.check(least=many)


def headers(content):
    """Return the places of all that a ZIP file says of itself, in a file of several."""
    starts = [at for mark in (b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7") for at in _found(content, mark)]
    return sorted({place for start in starts for place in range(start, min(start + 20, len(content)))})


def _found(content, mark):
    at = content.find(mark)
    while at >= 0:
        yield at
        at = content.find(mark, at + 1)


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


# ---------------------------------------------------------------- with right checksums: somebody wants it to be taken

VALUES = [
    None,
    True,
    -1,
    0,
    3,
    10**30,
    1.5,
    float("nan"),
    "x",
    "../x",
    "float16",
    "\ud800",
    [],
    {},
    [[]],
    ["a", ["b"]],
    {"tensor": "nowhere"},
    {"record": 5, "fields": []},
    {"record": "os:system", "fields": [["a", {"value": 1}]]},
    {"dict": [[[], 1]]},
    {"float": "q"},
]


def _places(found, at=()):
    if at:
        yield at
    if isinstance(found, dict | list):
        for name, part in found.items() if isinstance(found, dict) else enumerate(found):
            yield from _places(part, (*at, name))


def _put(text, at, change):
    """Return a manifest that differs in one place."""
    found = json.loads(text)
    inside = found
    for name in at[:-1]:
        inside = inside[name]
    if change == "gone":
        del inside[at[-1]]
    elif isinstance(change, int):
        inside[at[-1]] = _nested(change)
    else:
        inside[at[-1]] = change[0]
    return found


def _nested(depth):
    node = {"value": None}
    for _ in range(depth):
        node = {"list": [node]}
    return node


def test_forged_manifests(copied):
    """In any place anything: an error, or an engine that can go on."""
    text, draw, reader = (copied / "mlo.json").read_text(), random.Random(0), Reader(copied)
    places = [at for at in _places(json.loads(text)) if at[0] not in ("sha256", "files")]
    changes = ["gone", 20, 70, 300, *[(value,) for value in VALUES]]
    for number in range(1000):
        reseal(copied, _put(text, places[number % len(places)], draw.choice(changes)))
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


def bombs():
    """Small files that ask for much, or say two things."""
    zeros = torch_zip(reduced_tensor(), bytes(50_000_000), packed=True)
    plain = torch_zip(reduced_tensor())
    two = (("data/0", bytes(16)),)
    with warnings.catch_warnings(action="ignore"):  # zipfile tells that a name is there twice
        double = torch_zip(reduced_tensor(), more=two)
    return {
        "packed": zeros,
        "huge numel": torch_zip(reduced_tensor(numel=10**12, size=(10**12,))),
        "huge view": torch_zip(reduced_tensor(size=(10**12,), stride=(0,))),
        "outside": torch_zip(reduced_tensor(offset=10**6)),
        "negative": torch_zip(reduced_tensor(offset=-(10**6))),
        "a name twice": double,
        "something before": b"PK\3\4" + plain,
        "something behind": plain + bytes(100),
        "two archives": plain + plain,
        "no end": plain[:-22],
        "a deep pickle": torch_zip(b"\x80\x02K\x01" + b"\x85" * 100_000 + b"."),
        "a list in itself": torch_zip(b"\x80\x02]q\0h\0a."),
        "a long text": torch_zip(b"\x80\x02X\xff\xff\xff\xff."),
        "doubled forty times": torch_zip(b"\x80\x02]" + b"".join(b"q%c(h%ch%ct" % (n, n, n) for n in range(40)) + b"."),
    }


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
