"""Moments in which Ctrl-C has to wait: what was begun must be known before anything is undone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C until the context ends, and keep it from processes that begin in it, for good.

    Only the main thread is ever interrupted; elsewhere nothing is put off.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    handler = signal.signal(signal.SIGINT, note)  # for this process: another thread may take the signal
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # for its children, who inherit the mask alone
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
        if seen and callable(handler):
            handler(signal.SIGINT, None)
