"""What the command line sets for its process, in processes of their own: an allocator's settings cannot be undone."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from applications.nas.process import keep_memory

CHILD = """
import resource, sys
{before}
def use():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = b"x" * (64 << 20)
    del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
use()
print(use())
"""
FEW = 10  # 64 MiB are 16,384 pages, or 32 huge ones; memory that is kept needs none
ROOT = Path(__file__).resolve().parents[2]

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")


def page_faults(before: str) -> int:
    """Return the page faults of making 64 MiB for the second time in a new process."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if "MALLOC" not in name and name not in ("GLIBC_TUNABLES", "LD_PRELOAD")
    }
    command = [sys.executable, "-c", CHILD.format(before=before)]
    done = subprocess.run(command, env=kept, cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


KEEP = "from applications.nas.process import keep_memory; assert keep_memory()"


@glibc
def test_freed_memory_is_used_again() -> None:
    assert page_faults("") > FEW
    assert page_faults(KEEP) < FEW


@glibc
def test_an_import_sets_nothing() -> None:
    quiet = "import applications.nas.process, applications.nas.__main__"
    assert page_faults(quiet) > FEW


@pytest.mark.parametrize(
    "chosen",
    [
        {"MALLOC_MMAP_THRESHOLD_": "65536"},
        {"MALLOC_TRIM_THRESHOLD_": "65536"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=65536"},
        {"LD_PRELOAD": "libjemalloc.so.2"},
    ],
)
def test_what_the_user_chose_stays(chosen: dict[str, str]) -> None:
    assert not keep_memory(chosen)
