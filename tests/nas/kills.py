"""Calls in copies of this process that are killed on the way."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import pytest

Place = tuple[Any, str]
"""A function: what holds it, and its name there."""


def visited(places: Sequence[Place], visit: Callable[[], None]) -> pytest.MonkeyPatch:
    """Call something before and after each call of some functions; return what undoes that."""

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*arguments: Any, **options: Any) -> Any:
            visit()
            found = function(*arguments, **options)
            visit()
            return found

        return inner

    patch = pytest.MonkeyPatch()
    for holder, name in places:
        patch.setattr(holder, name, around(getattr(holder, name)))
    return patch


def kill_at_visit(places: Sequence[Place], count: int) -> None:
    """Let this process kill itself at a visit of some functions: each has one before it and one after it."""
    left = [count]

    def visit() -> None:
        left[0] -= 1
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    visited(places, visit)


def ended_by_kill(call: Callable[[], object], prepare: Callable[[], None]) -> bool:
    """Make a call in a copy of this process, once that is prepared; return whether it was killed before its end."""
    child = os.fork()
    if child == 0:
        try:
            prepare()
            call()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the run failed by itself"
    return False
