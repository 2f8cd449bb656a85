"""The files of a checkpoint: damaged, hostile, half-written, and read by others."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil

import pytest
import torch

import mlo
from tests.checkpoints import after, refused, small


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The checkpoint of an engine after two steps; not to be changed."""
    folder = tmp_path_factory.mktemp("kept") / "kept"
    mlo.save(after(2), folder)
    return folder


@pytest.fixture
def copied(kept, tmp_path):
    return shutil.copytree(kept, tmp_path / "copied")


def test_a_folder_that_is_none(kept, tmp_path):
    refused(small(), tmp_path / "nowhere", "nowhere", "no such folder", "mlo.save wrote")
    refused(small(), kept / "mlo.json", "is not a folder")
    refused(small(), tmp_path, "holds no mlo.json")


@pytest.mark.parametrize("size", [0, 10, 2000, -1])
def test_truncated_tensors(copied, size):
    (file,) = copied.glob("*.distcp")
    content = file.read_bytes()
    file.write_bytes(content[:size])
    refused(small(), copied, "copied", "earlier checkpoint")


def test_a_missing_file_of_tensors(copied):
    (file,) = copied.glob("*.distcp")
    file.unlink()
    refused(small(), copied, "cannot be read", "earlier checkpoint")


def test_changed_numbers(copied):
    (file,) = copied.glob("*.distcp")
    content, old = bytearray(file.read_bytes()), torch.ones(2).double()
    made = small()
    mlo.restore(made, copied)
    old = made.values["x"].numpy().tobytes()
    place = bytes(content).index(old)
    content[place] ^= 1  # the last bit of a number
    file.write_bytes(bytes(content))
    refused(small(), copied, "copied", "earlier checkpoint")


DAMAGE = {
    "no JSON": lambda found: None,
    "another kind": lambda found: [],
    "no format": lambda found: {key: value for key, value in found.items() if key != "format"},
    "no tensors": lambda found: {**found, "tensors": {}},
    "a path": lambda found: with_places(found, {"relative_path": "../a.distcp"}),
    "a type": lambda found: with_places(found, {"dtype": "load"}),
    "a size": lambda found: with_places(found, {"shape": [-1]}),
    "a huge size": lambda found: with_places(found, {"offset": 10**30}),
    "a step": lambda found: {**found, "step": found["step"] + 1},
    "no step": lambda found: {**found, "step": None},
    "a problem": lambda found: {**found, "problems": {"x": found["problems"]["x"]}},
    "a state": lambda found: with_state(found, {"call": "os:system"}),
    "no record": lambda found: with_state(found, {"record": "os:system", "fields": []}),
    "a warning": lambda found: {**found, "warned": [["adjoint", "w", "often"]]},
}


def reseal(folder, manifest):
    """Write a manifest and all checksums as somebody would who wants a change to be taken."""
    del manifest["sha256"]
    files = [file for file in folder.iterdir() if file.name != "mlo.json"]
    manifest["files"] = {
        file.name: [file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest()] for file in files
    }
    seal = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    (folder / "mlo.json").write_text(json.dumps({**manifest, "sha256": seal}) + "\n")


def with_places(found, changes):
    return {**found, "tensors": {key: {**place, **changes} for key, place in found["tensors"].items()}}


def with_state(found, node):
    return {**found, "problems": {**found["problems"], "w": {**found["problems"]["w"], "state": node}}}


@pytest.mark.parametrize("case", list(DAMAGE))
def test_a_damaged_manifest(copied, case):
    file = copied / "mlo.json"
    text = file.read_text()
    changed = DAMAGE[case](json.loads(text))
    file.write_text(text[:-20] if changed is None else json.dumps(changed))
    refused(small(), copied, "copied", "earlier checkpoint")


@pytest.mark.parametrize("case", [name for name in DAMAGE if name not in ("no JSON", "another kind", "a step")])
def test_a_manifest_that_was_forged(copied, case):
    """With the right checksums, it must still make sense."""
    reseal(copied, DAMAGE[case](json.loads((copied / "mlo.json").read_text())))
    refused(small(), copied, "copied")


def test_a_newer_format(copied):
    file = copied / "mlo.json"
    file.write_text(json.dumps({"format": 3, "mlo": "9.1", "all": "else"}))
    refused(small(), copied, "copied", "format 3", "mlo 9.1", "update the library")


class Hostile:
    """What pickle runs when it reads it."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


def test_what_a_pickle_says_is_not_run(copied, tmp_path):
    trace = tmp_path / "it ran"
    (copied / ".metadata").write_bytes(pickle.dumps(Hostile(trace)))
    refused(small(), copied, ".metadata", "not what was written")
    reseal(copied, json.loads((copied / "mlo.json").read_text()))
    mlo.restore(small(), copied)
    assert not trace.exists()
    (file,) = copied.glob("*.distcp")
    (content := tmp_path / "hostile").touch()
    torch.save(Hostile(trace), content)
    whole = json.loads((copied / "mlo.json").read_text())
    size = content.stat().st_size
    for number, place in enumerate(whole["tensors"].values()):
        place |= {"offset": number * size, "length": size}
    file.write_bytes(content.read_bytes() * len(whole["tensors"]))
    reseal(copied, whole)
    refused(small(), copied, "cannot be read")
    assert not trace.exists()


@pytest.mark.parametrize("name", ["os:system", "builtins:tuple", "nowhere:Thing", "torchopt.base:EmptyState.x", "a"])
def test_only_named_tuples_are_made(name):
    from mlo.checkpoint.tree import decoded

    with pytest.raises(mlo.DataError, match="no such named tuple"):
        decoded({"record": name, "fields": []}, {}.__getitem__, {})


def test_torch_reads_it_too(kept):
    from torch.distributed import checkpoint as dcp

    values = after(2).values
    found = {"values/w/0": torch.zeros(3).double(), "values/x/0": torch.zeros(2).double()}
    reader = dcp.FileSystemReader(kept)
    with pytest.warns(UserWarning, match=r"torch\.distributed is disabled"):
        dcp.load(found, storage_reader=reader)
    assert torch.equal(found["values/w/0"], torch.cat([values["w"]["a"], values["w"]["b"]]))
    assert torch.equal(found["values/x/0"], values["x"])
    names = set(reader.read_metadata().state_dict_metadata)
    assert {"states/w/0/trace/0", "states/x/0/mu/0"} < names
