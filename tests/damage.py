"""Files that are not what was written, by accident or by intent, and a watch over what reading them does."""

from __future__ import annotations

import codecs
import io
import os
import pickle
import random
import resource
import struct
import sys
import tarfile
import time
import zipfile
from contextlib import contextmanager

import numpy
import torch

FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn")
CHANGING = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.symlink", "shutil.rmtree")
REACHING = ("socket.connect", "ctypes.dlopen", "ctypes.dlsym", "urllib.Request", "import")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

for codec in ("cp437", "raw_unicode_escape", "utf-16", "utf-8-sig"):
    codecs.lookup(codec)  # imported now, so that nothing is while somebody watches

_seen: list[str] = []
_armed: list[tuple[str, ...]] = [()]


def _hook(event, args):
    if event in _armed[0]:
        _seen.append(f"{event} {args!r:.100}")
    elif _armed[0] and event == "open" and ((args[2] or 0) & WRITING or set(args[1] or "r") & set("wax+")):
        _seen.append(f"writing {args!r:.100}")


sys.addaudithook(_hook)


class Watch:
    """What must hold for the reading of every damaged file; kept cheap, for there are thousands.

    Python's own audit events tell if anything is run, written, imported or removed. A second of the processor is far
    above what a small file takes, and far below a loop that somebody has built into one.

    Args:
        evaluates: Whether the reader evaluates its own annotations, as that of settings does.
    """

    def __init__(self, *, evaluates: bool = False) -> None:
        self.count, self.slowest = 0, 0.0
        self._events = (*FORBIDDEN, *CHANGING, *REACHING, *(() if evaluates else ("exec",)))
        self._memory = _peak()

    @contextmanager
    def reading(self):
        """Watch the body."""
        started = time.process_time()
        _armed[0] = self._events
        try:
            yield
        finally:
            _armed[0] = ()
            self.count += 1
            self.slowest = max(self.slowest, time.process_time() - started)
        found, _seen[:] = list(_seen), []
        assert not found, found

    def check(self, *, least: int) -> None:
        """Raise unless enough was read, none of it took long, and the memory did not grow with what files asked for."""
        assert self.count >= least, self.count
        assert self.slowest < 1.0, self.slowest
        assert _peak() - self._memory < 300, "MiB more than before"


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def damaged(content: bytes, seed: int, many: int, others=()):
    """Yield what may become of a file: `many` times, each time other bytes than `content`.

    Args:
        content: The file.
        seed: Decides where.
        many: How many.
        others: Contents of other files that may take its place.
    """
    draw = random.Random(seed)
    made = 0
    foreign = [*others, *FOREIGN]
    while made < many:
        kind = made % len(KINDS) if made >= len(foreign) else None
        found = foreign[made] if kind is None else KINDS[kind](content, draw)
        if found == content:  # such as two equal blocks that were exchanged
            found = _flip(content, draw)
        made += 1
        yield found


def flipped_at(content: bytes, places, bit: int = 1):
    """Yield a file with one bit changed, at each place in turn."""
    for place in places:
        found = bytearray(content)
        found[place] ^= bit
        yield bytes(found)


def _flip(content, draw):
    found = bytearray(content)
    found[draw.randrange(len(found))] ^= 1 << draw.randrange(8)
    return bytes(found)


def _flips(content, draw):
    for _ in range(draw.choice([2, 5, 50])):
        content = _flip(content, draw)
    return content


def _cut(content, draw):
    """Leave the beginning: of any length, of nearly none or all, or of whole pages, as file systems lose them."""
    last = len(content) - 1
    near = draw.choice([0, 1, 2, 3, 7, 21, 22, 29, 30, last, max(last - 1, 0), max(last - 21, 0)])
    return content[: draw.choice([draw.randrange(len(content)), near, 512 * (last // 512), 4096 * (last // 4096)])]


def _behead(content, draw):
    return content[1 + draw.randrange(len(content)) :]


def _zero_tail(content, draw):
    """Fill the end with zeros, as after a power cut: the length is on the disk, the content is not."""
    start = draw.choice([0, 512 * draw.randrange(1 + len(content) // 512), draw.randrange(len(content))])
    return content[:start] + bytes(len(content) - start)


def _insert(content, draw):
    at, size = draw.randrange(len(content) + 1), draw.choice([1, 2, 8, 512])
    return content[:at] + draw.randbytes(size) + content[at:]


def _drop(content, draw):
    at, size = draw.randrange(len(content)), draw.choice([1, 2, 8, 512])
    return content[:at] + content[at + size :]


def _double(content, draw):
    return content + draw.choice([content, content[: draw.randrange(1, len(content))], b"\0", b"\n", bytes(4096)])


def _exchange(content, draw):
    size = draw.choice([1, 8, 64, 512])
    one, other = (draw.randrange(max(len(content) - size, 1)) for _ in range(2))
    found = bytearray(content)
    found[one : one + size], found[other : other + size] = content[other : other + size], content[one : one + size]
    return bytes(found)


def _noise(content, draw):
    at, size = draw.randrange(len(content)), draw.choice([4, 16, 512])
    return content[:at] + draw.randbytes(min(size, len(content) - at)) + content[at + size :]


KINDS = [_flip, _cut, _flip, _zero_tail, _insert, _flip, _drop, _double, _exchange, _noise, _flips, _behead]


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
