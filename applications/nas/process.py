"""Settings of the whole process that make a search cheaper and change no number; for the command line alone.

A library must leave these to whoever owns the process, so nothing here runs when a module is imported.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_FREE = 2**31 - 1  # bytes that may stay free at the end of the heap: the most that can be said
_BLOCKS = (2**30, 2**25)  # blocks up to so many bytes come from the heap; older versions of glibc refuse the first
_CHOICES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_")


def keep_memory(environment: Mapping[str, str] | None = None) -> bool:
    """Tell glibc to use freed memory again instead of giving it back after each pass and asking for it anew.

    By itself glibc gives back the end of its heap and the largest blocks as they are freed, and the kernel clears every
    page once more at its next use. The peak of memory stays the same; between peaks the process keeps it.

    Args:
        environment: Environment variables; None for those of the process. If a setting of malloc is among them, the
            user has chosen, and nothing is changed.

    Returns:
        Whether both thresholds were set: not where the C library is another one.
    """
    environment = os.environ if environment is None else environment
    if any(name in environment for name in _CHOICES) or "glibc.malloc." in environment.get("GLIBC_TUNABLES", ""):
        return False
    if not sys.platform.startswith("linux") or environment.get("LD_PRELOAD"):  # may be another allocator
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return any(mallopt(_M_MMAP_THRESHOLD, size) for size in _BLOCKS) and bool(mallopt(_M_TRIM_THRESHOLD, _FREE))
