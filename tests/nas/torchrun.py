"""Ranks for a test, real processes: all of them end within a minute, whatever becomes of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch.distributed as dist

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60  # seen: 6 to 12 of one core
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@contextmanager
def module(*words: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a module in a process; what is left of it and of those that it started is killed behind the body."""
    settings = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "PYTHONPATH": str(ROOT), "COLUMNS": "300"}
    with subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            for number in [*children(process.pid), process.pid]:
                kill(number)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait; return the exit code, and what was written to both outputs."""
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


def children(parent: int) -> dict[int, int | None]:
    """Return the numbers of the processes that one has started, and the ranks of those that torchrun calls ranks."""
    found: dict[int, int | None] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                words = (entry / "environ").read_bytes().split(b"\0")
                found[int(entry.name)] = next((int(word[5:]) for word in words if word.startswith(b"RANK=")), None)
    return found


def kill(number: int) -> None:
    """Kill a process as the kernel does when there is no memory left."""
    with suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)


def tell(torchrun: subprocess.Popen[str], number: int) -> None:
    """Send a signal to torchrun; its ranks stand still until it has passed on what it makes of it, however late."""
    ranks = [child for child, rank in children(torchrun.pid).items() if rank is not None]
    for rank in ranks:
        os.kill(rank, signal.SIGSTOP)
    torchrun.send_signal(number)
    wait_for(lambda: all(map(is_told, ranks)))
    for rank in ranks:
        os.kill(rank, signal.SIGCONT)


def is_told(number: int) -> bool:
    """Return whether a request to end waits for a process that stands still, or is what a thread stands still in."""
    threads = [path.read_text(encoding="utf-8") for path in Path(f"/proc/{number}/task").glob("*/status")]
    sets = [int(found, 16) for text in threads for found in re.findall(r"(?:ShdPnd|SigBlk):\s*(\w+)", text)]
    return any(one >> (request - 1) & 1 for one in sets for request in (signal.SIGINT, signal.SIGTERM))


def wait_for(what: Callable[[], bool]) -> None:
    """Wait until something is so."""
    start = time.monotonic()
    while not what():
        if time.monotonic() - start > SECONDS:
            raise TimeoutError("it never came to that")
        time.sleep(0.02)


def fork(world: int, part: Callable[[], None]) -> None:
    """Do what torchrun does, but in copies of this process, which spares each rank the imports."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    os.environ.update(told, WORLD_SIZE=str(world), TORCHELASTIC_RUN_ID="none")
    started = []
    for rank in range(world):
        number = os.fork()
        if number == 0:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            part()
            sys.stdout.flush()
            os._exit(0)
        started.append(number)
    codes = [os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) for number in started]
    if any(codes):
        raise SystemExit(f"{world} ranks: exit codes {codes}")
