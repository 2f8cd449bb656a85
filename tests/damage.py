"""Files that are not what was written, and a watch over what reading them does."""

from __future__ import annotations

import codecs
import os
import random
import resource
import sys
import time
from contextlib import contextmanager

from tests.hostile import FOREIGN

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


def headers(content):
    """Return the places of all that a ZIP file says of itself, in a file of several."""
    starts = [at for mark in (b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7") for at in _found(content, mark)]
    return sorted({place for start in starts for place in range(start, min(start + 20, len(content)))})


def _found(content, mark):
    at = content.find(mark)
    while at >= 0:
        yield at
        at = content.find(mark, at + 1)
