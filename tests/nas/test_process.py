"""What the command line sets for its process, in processes of their own: an allocator's settings cannot be undone."""

from __future__ import annotations

import os
import subprocess
import sys

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
PAGES = (64 << 20) // os.sysconf("SC_PAGE_SIZE")

glibc = pytest.mark.skipif(
    not sys.platform.startswith("linux") or "CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="needs glibc"
)


def page_faults(before: str, **environment: str) -> int:
    """Return the page faults of making 64 MiB for the second time in a new process."""
    kept = {name: value for name, value in os.environ.items() if "MALLOC" not in name and name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", CHILD.format(before=before)]
    done = subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True, check=True)
    return int(done.stdout)


KEEP = "from applications.nas.process import keep_memory; assert keep_memory()"


@glibc
def test_freed_memory_is_used_again() -> None:
    """Of huge pages there are fewer, so that without the setting only more than a hundred faults are asked for."""
    assert page_faults("") > 100
    assert page_faults(KEEP, PYTHONPATH=os.getcwd()) < 100


@glibc
def test_an_import_sets_nothing() -> None:
    quiet = "import applications.nas.process, applications.nas.__main__"
    assert page_faults(quiet, PYTHONPATH=os.getcwd()) > 100


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
