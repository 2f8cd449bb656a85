"""Run one function in several processes that torch.distributed connects by gloo: forked, timed, and never left behind.

The processes are forked from one that has imported the library, so that a launch takes tenths of a second. They meet
at a file, so that launches side by side do not get into each other's way.
"""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import TemporaryDirectory

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.parallel.imported"])
LIMIT = 60.0


@dataclass
class Outcome:
    """How one rank ended: what its function returned, or the error that it raised; neither if it was killed."""

    rank: int
    value: object = None
    error: BaseException | None = None
    notes: list[str] = field(default_factory=list)
    trace: str = ""
    code: int | None = None
    seconds: float = 0.0  # from the start of its function until it returned or raised
    left: float = 0.0  # from then until the process was gone
    output: str = ""

    def __str__(self) -> str:
        """Show it for a failed test."""
        return f"--- rank {self.rank}: exit code {self.code} after {self.seconds:.1f} s\n{self.trace}{self.output}"


def outcomes(function, world, *args, limit=LIMIT):
    """Run `function(*args)` on every rank; return how each ended, in order of ranks, whatever happened."""
    with TemporaryDirectory() as folder:
        pipes = [CONTEXT.Pipe(duplex=False) for _ in range(world)]
        children = []
        for rank, (_, sender) in enumerate(pipes):
            given = (function, rank, world, Path(folder), sender, args)
            children.append(CONTEXT.Process(target=_child, args=given, daemon=True))
            children[-1].start()
            sender.close()
        try:
            found = _collected([receiver for receiver, _ in pipes], limit)
            begin = time.monotonic()
            for child, one in zip(children, found, strict=True):
                child.join(max(limit / 2 - (time.monotonic() - begin), 0.1))
                one.left, one.code = time.monotonic() - begin, child.exitcode
        finally:
            for child in children:
                child.kill()
                child.join()
        for one in found:
            log = Path(folder, f"{one.rank}.txt")
            one.output = log.read_text() if log.exists() else ""
        return found


def launch(function, world, *args, limit=LIMIT):
    """Run `function(*args)` on every rank; return what each returned, or fail showing what all of them printed."""
    found = outcomes(function, world, *args, limit=limit)
    if any(one.error is not None or one.code != 0 for one in found):
        raise AssertionError("\n".join(str(one) for one in found if one.trace or one.code != 0))
    return [one.value for one in found]


def _collected(receivers: list[Connection], limit: float) -> list[Outcome]:
    found = [Outcome(rank) for rank in range(len(receivers))]
    waiting = dict(zip(receivers, found, strict=True))
    end = time.monotonic() + limit
    while waiting and time.monotonic() < end:
        for receiver in wait(list(waiting), timeout=max(end - time.monotonic(), 0.0)):
            one = waiting.pop(receiver)
            with suppress(EOFError):  # it was killed
                one.value, one.error, one.notes, one.trace, one.seconds = receiver.recv()
    return found


def _child(function, rank, world, folder, sender, args):
    """Be one rank."""
    import torch
    import torch.distributed as dist

    log = os.open(folder / f"{rank}.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    torch.manual_seed(rank)  # on purpose another one on each
    store = dist.FileStore(str(folder / "store"), world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    begin, value, error, trace = time.monotonic(), None, None, ""
    try:
        value = function(*args)
    except BaseException as raised:
        error, trace = raised, traceback.format_exc()
    notes = [str(note) for note in getattr(error, "__notes__", [])]
    sender.send((value, error, notes, trace, time.monotonic() - begin))
    sender.close()
    if error is None:
        store.set(f"done {rank}", "")  # nobody closes a connection that another one needs
        store.wait([f"done {other}" for other in range(world)])
        dist.destroy_process_group()
