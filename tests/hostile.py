"""Files that somebody has made to run code, to fill the memory, or to be taken for what they are not."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import sys
import tarfile
import warnings
import zipfile

import numpy
import torch


class Calls:
    """What a pickle calls when it is read."""

    def __init__(self, function, *arguments) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def _gadgets():
    """Return what people hide in pickles: commands, code, files; directly, and behind functions that are well known."""
    inner = pickle.dumps(Calls(os.system, "true"))
    return {
        "os.system": Calls(os.system, "true"),
        "open": Calls(open, "mlo-hostile", "w"),
        "eval": Calls(eval, "__import__('os').system('true')"),
        "exec": Calls(exec, "import os"),
        "import": Calls(__import__, "antigravity"),
        "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
        "pickle in a pickle": Calls(pickle.loads, inner),
        "torch.storage._load_from_bytes": Calls(torch.storage._load_from_bytes, inner),
        "torch.load": Calls(torch.load, "mlo-hostile"),
        "torch.hub.load": Calls(torch.hub.load, "a/b", "c"),
        "torch.jit.load": Calls(torch.jit.load, "mlo-hostile"),
        "numpy.load": Calls(numpy.load, "mlo-hostile", None, True),
        "numpy frombuffer": numpy.arange(3),
        "bytearray": Calls(bytearray, 10**12),
        "an object": Calls(object),
        "a code object": Calls(type, "T", (), {}),
    }


GADGETS = _gadgets()


def torch_zip(pickled: bytes, numbers: bytes = bytes(16), *, packed: bool = False, more: tuple = ()) -> bytes:
    """Return a file as `torch.save` makes it, around any pickle."""
    stream = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", kind) as archive:
        parts = [("data.pkl", pickled), ("byteorder", sys.byteorder.encode()), ("data/0", numbers), ("version", b"3\n")]
        for name, content in [*parts, *more]:
            archive.writestr(f"archive/{name}", content)
    return stream.getvalue()


def hostile_files() -> dict[str, bytes]:
    """Return files that would run code when they are read as pickles, in each of the forms that torch has had."""
    found = {}
    for name, gadget in GADGETS.items():
        for protocol in (0, 2, 4):
            pickled = pickle.dumps({"a": gadget}, protocol)
            found[f"{name}, pickle {protocol}"] = pickled
            found[f"{name}, torch {protocol}"] = torch_zip(pickled)
        found[f"{name}, torch's first"] = _legacy(gadget)
        found[f"{name}, tar"] = _tar(pickle.dumps(gadget, 2))
    return found


def _legacy(thing) -> bytes:
    stream = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, thing, []):
        pickle.dump(part, stream, 2)
    return stream.getvalue()


def _tar(pickled: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(pickled)
            archive.addfile(entry, io.BytesIO(pickled))
    return stream.getvalue()


def _npy(thing) -> bytes:
    stream = io.BytesIO()
    numpy.save(stream, numpy.array([thing], dtype=object), allow_pickle=True)
    return stream.getvalue()


def reduced_tensor(kind="FloatStorage", numel=4, offset=0, size=(4,), stride=(1,), key="0") -> bytes:
    """Return the pickle of {"a": a tensor} with any sizes."""
    return b"".join(
        [
            b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor_v2\n((",
            *[b"X" + struct.pack("<I", 7) + b"storage", f"ctorch\n{kind}\n".encode()],
            *[b"X" + struct.pack("<I", len(key)) + key.encode(), b"X\x03\0\0\0cpu", _integer(numel), b"tQ"],
            *[_integer(offset), b"(", *map(_integer, size), b"t(", *map(_integer, stride), b"t"],
            b"\x89ccollections\nOrderedDict\n)RtRs.",
        ]
    )


def _integer(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    long = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(long)]) + long


PLAIN = b'{"a": 1}'
FOREIGN = [
    b"",
    b"\0",
    bytes(4096),
    b"\xff" * 100,
    b"text\n",
    b"{}",
    b"[]",
    b"null",
    b"NaN",
    b'"text"',
    PLAIN,
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b"9" * 1_000_000,
    b'{"format": ' + b"9" * 1_000_000 + b"}",
    b'{"format": 1e999}',
    b'{"format": -1}',
    '{"a": "\N{SNOWMAN}"}'.encode("utf-16"),
    b"\xef\xbb\xbf{}",
    b'{"a": "\\ud800"}',
    b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".",
    b"\x80\x02K\x01" + b"\x85" * 100_000 + b".",
    _npy(GADGETS["os.system"]),
    _npy(1)[:40],
]


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


def places_in(found, at=()):
    if at:
        yield at
    if isinstance(found, dict | list):
        for name, part in found.items() if isinstance(found, dict) else enumerate(found):
            yield from places_in(part, (*at, name))


def put(text, at, change):
    """Return a manifest that differs in one place."""
    found = json.loads(text)
    inside = found
    for name in at[:-1]:
        inside = inside[name]
    if change == "gone":
        del inside[at[-1]]
    elif isinstance(change, int):
        inside[at[-1]] = nested(change)
    else:
        inside[at[-1]] = change[0]
    return found


def nested(depth):
    node = {"value": None}
    for _ in range(depth):
        node = {"list": [node]}
    return node
