"""What a process holds: tensors, nodes of graphs, Python objects, bytes, open files, threads; and whether that grows.

Counts are exact, so a leak of one thing per step shows over any number of steps. They are taken before, half-way and
after; what counts is the smaller of the two growths, for a leak is in both, and a cache that fills up once is not.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch

STEPS = int(os.environ.get("MLO_LEAK_STEPS", "30"))
"""Outer steps in a test; the suite has no time for the 2,000 of which docs/reliability.md tells: set the variable."""
SMALL = 1024
"""Bytes of the smallest tensor whose loss in each step is to be found."""


@dataclass(frozen=True)
class Held:
    """What a process holds at a moment.

    Attributes:
        tensors: Tensors that Python knows.
        nodes: Nodes of autograd's graphs that these reach.
        objects: Other objects that the collector of garbage knows.
        blocks: Blocks of Python's allocator: objects that the collector does not know, too.
        heap: Bytes that malloc has handed out; 0 where the C library does not tell.
        files: Open files.
        threads: Threads.
        resident: Bytes of resident memory, which moves by itself as pages come and go.
    """

    tensors: int
    nodes: int
    objects: int
    blocks: int
    heap: int
    files: int
    threads: int
    resident: int

    @staticmethod
    def now() -> Held:
        """Collect garbage, and look."""
        for _ in range(2):  # what a finalizer lets go of
            gc.collect()
        blocks, heap = sys.getallocatedblocks(), _heap()  # first, for what is done here leaves blocks for use again
        found = gc.get_objects()
        tensors = [one for one in found if issubclass(type(one), torch.Tensor)]
        nodes, objects = _nodes(tensors), len(found) - len(tensors)
        task = "/proc/self/task"
        threads = len(os.listdir(task)) if os.path.isdir(task) else threading.active_count()
        return Held(len(tensors), nodes, objects, blocks, heap, _files(), threads, _resident())


def check_level(samples: Iterable[Held], steps: int, *, kept: int = 0) -> None:
    """Refuse growth between three samples that are `steps` steps apart.

    Nothing that is counted may grow by one for every fourth step; blocks, of which caches of torch and torchopt fill
    some hundred at no fixed time, by one for every second step and 300. Memory may not grow by half of `SMALL` bytes
    for each step and 16 kB; resident memory has 4 MB, for pages of the allocator.

    Args:
        samples: Three.
        steps: Between two of them.
        kept: Objects of a step that are kept on purpose, such as a row of metrics; each may have a few blocks.
    """
    first, second, third = samples
    memory = SMALL * steps // 2
    slack = {
        "objects": steps // 4 + kept * steps,
        "blocks": steps // 2 + 300 + 10 * kept * steps,
        "heap": memory + 2**14,
        "resident": memory + 2**22,
    }
    found = {}
    for one in fields(Held):
        values = [getattr(held, one.name) for held in (first, second, third)]
        growth = min(values[1] - values[0], values[2] - values[1])
        if growth > slack.get(one.name, steps // 4):
            found[one.name] = values
    assert not found, f"grows over twice {steps} steps: {found}"


def check_steps(step: Callable[[], object], steps: int = STEPS, *, kept: int = 0) -> None:
    """Make steps, a fifth of them to warm up, and refuse growth over the others."""
    with apart():
        samples = []
        for count in (steps // 5, 2 * steps // 5, 2 * steps // 5):
            for _ in range(count):
                step()
            samples.append(Held.now())
    check_level(samples, 2 * steps // 5, kept=kept)


@contextmanager
def apart() -> Iterator[None]:
    """Keep what is there already out of all counts, which makes them quick."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _nodes(tensors: list[torch.Tensor]) -> int:
    waiting: list[Any] = [one.grad_fn for one in tensors if one.grad_fn is not None]
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions if before is not None]
    return len(seen)


class _Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "a", "b", "c", "mapped", "d", "e", "used", "f", "g")]


def _heap() -> int:
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return 0
    ask.restype = _Mallinfo
    found = ask()
    return int(found.used + found.mapped)


def _files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def _resident() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
