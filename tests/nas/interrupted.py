"""Searches that are killed in a process of their own, and what two folders of searches have in common."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import mlo
from applications.nas.search import can_resume, resume, search
from applications.nas.search.checkpoint import read_checkpoint
from applications.nas.settings import SearchSettings
from tests.nas.kills import ended_by_kill, kill_at_visit

_PLACES = ((mlo.Engine, "step"), (os, "fsync"), (os, "replace"), (Path, "rename"))

TIMES = ("seconds",)
"""What differs between two runs of one search, in results.json."""


def killed(call: Callable[[], object], after: int) -> bool:
    """Make a call in a child process that is killed at its n-th visit of a place; return whether it came that far.

    The places are the begin and the end of every step, and each file that a checkpoint renames or flushes.
    """
    return ended_by_kill(call, lambda: kill_after(after))


def killed_at(call: Callable[[], object], holder: Any, name: str, when: int | Callable[..., bool]) -> bool:
    """Make a call in a child process that is killed before the n-th call of a function, or that with such arguments."""

    def prepare() -> None:
        inner, calls = getattr(holder, name), [0]

        def watched(*arguments: Any, **options: Any) -> Any:
            calls[0] += 1
            if when(*arguments[:1]) if callable(when) else calls[0] == when:
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(*arguments, **options)

        setattr(holder, name, watched)

    return ended_by_kill(call, prepare)


def kill_after(count: int) -> None:
    """Let this process kill itself."""
    kill_at_visit(_PLACES, count)


def run(settings: SearchSettings, folder: Path) -> None:
    """Begin a search, or go on with it, in the way that a user does."""
    if can_resume(folder):
        resume(folder)
    else:
        search(settings, folder)


def assert_same_search(one: Path, other: Path) -> None:
    """Compare what two searches have written: byte for byte, but for times and for what tells of the machine."""
    names = sorted(path.name for path in one.iterdir() if path.is_file())
    assert names == sorted(path.name for path in other.iterdir() if path.is_file())
    for name in names:
        if name in ("environment.json", "README.md", "index.html"):
            continue
        if name == "results.json":
            mine, theirs = (json.loads((folder / name).read_text()) for folder in (one, other))
            assert {**mine, **dict.fromkeys(TIMES)} == {**theirs, **dict.fromkeys(TIMES)}
        elif name == "checkpoint.pt":
            first, second = read_checkpoint(one), read_checkpoint(other)
            assert (first.stage, first.epoch) == (second.stage, second.epoch)
            assert _same(first.supernets, second.supernets)
            assert _same(first.architecture, second.architecture)
        else:
            assert (one / name).read_bytes() == (other / name).read_bytes(), name


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
