"""The processes that `torchrun` starts for one job: which of them this one is, and what they say to each other."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mlo import MLOError

T = TypeVar("T")

_UNNAMED = "none"  # what torchrun calls every job that is given no --rdzv-id
_PATIENCE = 600.0  # seconds until all ranks must have come
_TURN = 3.0  # seconds: of an error that all ranks meet, the first one tells; torchrun then ends the others
_KEPT: list[BaseException] = []  # with what waits for ranks that are gone: to free that could take forever


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those of its job; by default it is alone.

    Attributes:
        rank: Its number, from 0.
        world: How many there are.
        local: Its number on this machine, from 0, which is also that of its GPU.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes files, prints and shows progress."""
        return self.rank == 0

    def add(self, values: Tensor) -> None:
        """Put the sum over all ranks in the place of a tensor; every rank must call it, and all get the same bits."""
        if self.world > 1:
            dist.all_reduce(values)

    def from_first(self, value: T) -> T:
        """Return what the first rank gave, a plain value; every rank must call it."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Return what each rank gave, a plain value, in their order; every rank must call it."""
        if self.world == 1:
            return [value]
        values = [value] * self.world
        dist.all_gather_object(values, value)
        return values


@contextmanager
def ranks() -> Iterator[Ranks]:
    """Join the processes that `torchrun` started; without it, be alone.

    What the ranks behind the first write to the standard output is dropped. Where there are GPUs, the one of this rank
    becomes the current one; tensors on the CPU can be exchanged there as well. After an error the process is of no more
    use: it should be that of a program under `end_with`, which does not wait for the other ranks.

    Yields:
        The place of this process.

    Raises:
        MLOError: In the place of what torch says when the connection to another rank breaks.
    """
    if not under_torchrun():
        yield Ranks()
        return
    mine = _place()
    on_gpu = torch.cuda.is_available()
    if on_gpu and mine.local < torch.cuda.device_count():
        torch.cuda.set_device(mine.local)
    with _explained():
        store = _meet(mine)
        backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, store=store, rank=mine.rank, world_size=mine.world)
    try:
        with _quiet(mine), _explained():
            yield mine
    except BaseException as error:
        _KEPT.append(error)
        if isinstance(error, Exception) and not mine.first:
            time.sleep(_TURN)
        raise
    dist.destroy_process_group()


def end_with(program: Callable[[], int]) -> int:
    """Run the program of this process; after an error among several ranks, end the process at once.

    Args:
        program: Returns the exit code.
    """
    try:
        code = program()
    except Exception:
        if not _KEPT:
            raise
        traceback.print_exc()
        code = 1
    if _KEPT:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def under_torchrun() -> bool:
    """Return whether `torchrun` started this process."""
    return job_name() is not None


def prefix() -> str:
    """Return "rank 1: " for the second process that `torchrun` started, and nothing without it."""
    return f"rank {_place().rank}: " if under_torchrun() else ""


def first() -> bool:
    """Return whether this process is the first of those that `torchrun` started, or alone."""
    return not under_torchrun() or _place().first


def started_by() -> list[str]:
    """Return `torchrun` and the options that start as many ranks; nothing without it."""
    if not under_torchrun():
        return []
    world, here = int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    where = ["--standalone"] if world == here else ["--nnodes", str(world // here)]
    return ["torchrun", *where, "--nproc-per-node", str(here)]


def job_name() -> str | None:
    """Return what `torchrun` calls this job, the same after a restart; None without it."""
    return os.environ.get("TORCHELASTIC_RUN_ID")


def restarted() -> bool:
    """Return whether torchrun counts a restart; it does not when machines come or go."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def goes_on() -> bool:
    """Return whether what carries the name of this job is of this job, as after a restart.

    A job that was given no name shares its name with others: it is known again only when torchrun counts a restart.
    """
    return restarted() or job_name() not in (None, _UNNAMED)


def _place() -> Ranks:
    return Ranks(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))


def _meet(mine: Ranks) -> Any:
    """Wait for the other ranks; return a store that holds nothing of those before a restart.

    torchrun may give the same store to the ranks that it starts again, with the addresses of those that are dead
    (pytorch issue 135712), and counts restarts on each machine alone. So each rank draws a name, and the names of all
    make that of this meeting; it is on when all ranks have found it.
    """
    hosted = mine.first and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    kind: Any = dist.TCPStore  # type: ignore[attr-defined] # torch gives it no name that a type checker sees
    store = kind(address, port, is_master=hosted, wait_for_workers=False, multi_tenant=True)
    store.set(f"mlo/{mine.rank}", uuid.uuid4().hex)
    everyone, until = [f"mlo/{rank}" for rank in range(mine.world)], time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        if store.check(everyone):
            meeting = hashlib.sha256(b" ".join(store.multi_get(everyone))).hexdigest()
            store.set(f"mlo/{meeting}/{mine.rank}", "")
            if store.check([f"mlo/{meeting}/{rank}" for rank in range(mine.world)]):
                return dist.PrefixStore(f"mlo/{meeting}", store)  # type: ignore[attr-defined]
        time.sleep(0.05)
    raise MLOError(
        f"of the {mine.world} ranks not all have come in {_PATIENCE:.0f} s: see whether all machines started"
    )


@contextmanager
def _quiet(mine: Ranks) -> Iterator[None]:
    """Drop what all but the first rank write to the standard output."""
    if mine.first:
        yield
        return
    told = logging.getLogger("mlo")
    level = told.level
    told.setLevel(logging.ERROR)  # the first rank warns of the same
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        told.setLevel(level)


@contextmanager
def _explained() -> Iterator[None]:
    """Say in the place of torch that another rank has ended."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, MLOError) and (isinstance(error, dist.DistError) or "gloo" in str(error)):
            why = "the connection to another rank is lost: its own message, or torchrun's, says why; mend that first"
            raise MLOError(why) from error
        raise
