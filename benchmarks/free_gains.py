"""What costs nothing: settings of the process and of memory that leave every number (or all but rounding) as it is.

    PYTHONPATH=. python benchmarks/free_gains.py                   tiny, two minutes
    PYTHONPATH=. python benchmarks/free_gains.py --size middle     C = 8, L = 5, batch 16, 32x32: a quarter of an hour

The work is one gradient of a supernet's loss, in weights and architecture. A setting that a process takes at its start
has a process of its own; all are started first and then work in turn, a round after another. Page faults are counted:
each is a page that the kernel clears and hands out. Times are wall clock, for with threads CPU time says little; read
them with the load that is stored beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from applications.nas.methods.base import initial_alphas, softmax_tables
from applications.nas.process import keep_memory
from applications.nas.space.cell import CellSpace
from benchmarks.rounds import interleaved, over, store
from benchmarks.whole_step import Size

SIZES = {
    "tiny": Size(4, 3, 8, 16),
    "small": Size(4, 3, 32, 16),
    "middle": Size(8, 5, 16, 32),
    "wide": Size(16, 3, 128, 32),
}
BASE = "one thread"
WORK = "work"


@dataclass(frozen=True)
class Process:
    """Processes that share a setting.

    Attributes:
        environment: What is set for them; None for what is taken away.
        keep: Whether they keep freed memory.
        count: How many work side by side.
    """

    environment: Mapping[str, str | None] = field(default_factory=dict)
    keep: bool = False
    count: int = 1


PROCESSES = {
    BASE: Process({"OMP_NUM_THREADS": "1"}),
    "one thread, memory kept": Process({"OMP_NUM_THREADS": "1"}, keep=True),
    "two threads": Process({"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}),
    "two threads that spin": Process({"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": None}),
    "two processes": Process({"OMP_NUM_THREADS": "1"}, count=2),
}


def gradient(size: Size, memory_format: torch.memory_format = torch.contiguous_format) -> Callable[[], object]:
    """Return what takes one gradient, with weights and images in a memory format."""
    torch.manual_seed(0)
    network: nn.Module = size.network(10).to(memory_format=memory_format)
    x = torch.randn(size.batch, 3, size.side, size.side).to(memory_format=memory_format)
    y = torch.arange(size.batch) % 10
    drawn = initial_alphas(CellSpace(), torch.Generator().manual_seed(0))
    alphas = {name: table.requires_grad_() for name, table in drawn.items()}
    wanted = [*alphas.values(), *network.parameters()]
    return lambda: torch.autograd.grad(cross_entropy(network(x, softmax_tables(alphas)), y), wanted)


class Worker:
    """A process that takes a gradient each time it is asked to."""

    def __init__(self, how: Process, size: str) -> None:
        """Start it; it is ready when it has answered once."""
        environment = {**os.environ, **{name: value for name, value in how.environment.items() if value is not None}}
        for name in [name for name, value in how.environment.items() if value is None]:
            environment.pop(name, None)
        command = [sys.executable, __file__, "--size", size, f"--{WORK}", *(["--keep"] if how.keep else [])]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def answer(self) -> tuple[int, int]:
        """Wait for the end, and return the page faults of it and the most MiB that the process ever held."""
        assert self._process.stdout is not None
        faults, peak = self._process.stdout.readline().split()
        return int(faults), int(peak)

    def close(self) -> None:
        self._process.communicate()


def work(size: Size, keep: bool) -> None:
    """Be a worker: a line on stdin asks for a gradient, a line on stdout tells what it took."""
    if keep:
        keep_memory()
    action = gradient(size)
    for _ in sys.stdin:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        action()
        after = resource.getrusage(resource.RUSAGE_SELF)
        print(after.ru_minflt - before, after.ru_maxrss // 1024, flush=True)


def settings_of_processes(size: str, rounds: int) -> dict[str, Any]:
    """Return seconds for each gradient and page faults, by process."""
    workers = {name: [Worker(how, size) for _ in range(how.count)] for name, how in PROCESSES.items()}
    took: dict[str, list[tuple[int, int]]] = {name: [] for name in workers}

    def action(name: str) -> Callable[[], None]:
        def act() -> None:
            for worker in workers[name]:
                worker.ask()
            took[name] += [worker.answer() for worker in workers[name]]

        return act

    actions = {name: action(name) for name in workers}
    for act in actions.values():  # the first gradient fills caches and heaps, and the second settles them
        act()
    seconds = interleaved(actions, rounds, time.perf_counter)
    for own in workers.values():
        for worker in own:
            worker.close()
    faults = {name: [count for count, _ in own[2 * PROCESSES[name].count :]] for name, own in took.items()}
    each = {name: [t / PROCESSES[name].count for t in own] for name, own in seconds.items()}
    return {
        "page faults": {name: statistics.median(own) for name, own in faults.items()},
        "peak MiB": {name: max(peak for _, peak in own) for name, own in took.items()},
        "times faster": {name: over(each[BASE], own) for name, own in each.items()},
    }


def settings_inside(size: Size, rounds: int) -> dict[str, Any]:
    """Return times of what one process can switch, and of copying all buffers, over a gradient."""
    plain = gradient(size)
    buffers = list(size.network(10).buffers())

    def flushing() -> None:
        torch.set_flush_denormal(True)
        plain()
        torch.set_flush_denormal(False)

    actions: dict[str, Callable[[], object]] = {
        "as it is": plain,
        "channels last": gradient(size, torch.channels_last),
        "denormals flushed": flushing,
        "buffers copied": lambda: [buffer.clone() for buffer in buffers],
    }
    seconds = interleaved(actions, rounds)
    gains = {name: over(seconds["as it is"], own) for name, own in seconds.items() if name != "buffers copied"}
    share = over([100 * t for t in seconds["buffers copied"]], seconds["as it is"])
    return {"times faster": gains, "buffers": len(buffers), "percent for copying buffers": share}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--size", choices=list(SIZES), default="tiny")
    parser.add_argument(f"--{WORK}", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(SIZES[options.size], options.keep)
        return
    found = {
        "size": vars(SIZES[options.size]),
        "rounds": options.rounds,
        "processes, perf_counter": settings_of_processes(options.size, options.rounds),
        "inside, process_time": settings_inside(SIZES[options.size], options.rounds),
    }
    print(json.dumps(found, indent=1))
    print(f"written: {store('free_gains', options.size, found)}")


if __name__ == "__main__":
    main()
