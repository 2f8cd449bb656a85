"""An outer step of an interleaving on ranks that share its stages, against one process; what more ranks would bring.

    PYTHONPATH=. python benchmarks/stages.py            2 ranks of one thread each, a small supernet, two minutes
    PYTHONPATH=. python benchmarks/stages.py --size middle --form batched

Rivals in the same round: one process with one thread, and one process with as many threads as there are ranks. What
cores that share memory and caches can do at most is shown by as many processes that each make a whole step at the same
time. Wall time, for ranks wait for each other. The prediction takes the measured time of a gradient, of the rest of a
step, and the counted bytes; its bandwidths are the measured one between processes of this machine, and an assumed one.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

import mlo
import mlo.solve
from applications.nas.formulations import build_graph
from applications.nas.methods.base import initial_alphas
from applications.nas.process import keep_memory
from applications.nas.settings import GradientSettings, Interleaving, SearchSettings
from applications.nas.space.cell import CellSpace
from benchmarks.rounds import over, store
from benchmarks.whole_step import CLASSES, FORMS, Size

SIZES = {"tiny": Size(4, 3, 8, 16), "small": Size(4, 3, 32, 16), "middle": Size(8, 5, 16, 32)}
ASSUMED = 12.5e9  # bytes a second of a link of 100 Gbit/s


@dataclass
class Sent:
    """Bytes that a rank gave to collective operations, and how many there were."""

    bytes: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)


@contextmanager
def counting() -> Iterator[Sent]:
    """Count the collective operations in the body."""
    sent, kept = Sent(), {name: getattr(dist, name) for name in ("all_reduce", "broadcast", "all_gather")}

    def counted(name: str) -> Callable[..., Any]:
        def call(first: Any, *rest: Any, **options: Any) -> Any:
            values: list[Tensor] = first if isinstance(first, list) else [first]
            sent.bytes[name] = sent.bytes.get(name, 0) + sum(v.numel() * v.element_size() for v in values)
            sent.calls[name] = sent.calls.get(name, 0) + 1
            return kept[name](first, *rest, **options)

        return call

    try:
        for name in kept:
            setattr(dist, name, counted(name))
        yield sent
    finally:
        for name, function in kept.items():
            setattr(dist, name, function)


@contextmanager
def timing_gradients() -> Iterator[list[float]]:
    """Collect the seconds of each gradient of a loss."""
    seconds: list[float] = []
    plain = mlo.solve.loss_gradient

    def timed(*values: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return plain(*values, **options)
        finally:
            seconds.append(time.perf_counter() - started)

    mlo.solve.loss_gradient = timed
    try:
        yield seconds
    finally:
        mlo.solve.loss_gradient = plain


def engine(size: Size, form: str, parallel: mlo.Alone | mlo.Parallel) -> mlo.Engine:
    settings = SearchSettings(formulation=Interleaving(rounds=2), gradient=GradientSettings("difference"))
    learners = [size.learner(str(classes), classes, FORMS[form]) for classes in CLASSES]
    drawn = initial_alphas(CellSpace(), torch.Generator().manual_seed(0))
    return mlo.Engine(build_graph(learners, drawn, settings), parallel=parallel)


def rank(number: int, world: int, store_file: str, options: argparse.Namespace) -> None:
    """Run the rounds; the first rank reports."""
    torch.set_num_threads(1)
    keep_memory()
    logging.getLogger("mlo").setLevel(logging.ERROR)
    dist.init_process_group("gloo", init_method=f"file://{store_file}", rank=number, world_size=world)
    size = SIZES[options.size]
    alone = {threads: engine(size, options.form, mlo.Alone()) for threads in (1, world)} if number == 0 else {}
    apart = engine(size, options.form, mlo.Alone())
    shared = engine(size, options.form, mlo.Parallel(stages=world))
    seconds: dict[str, list[float]] = {}
    gradients: list[list[float]] = []
    for turn in range(options.rounds + 1):
        for threads, rival in alone.items():
            torch.set_num_threads(threads)
            with timing_gradients() as found:
                started = time.perf_counter()
                rival.step()
                took = time.perf_counter() - started
            if turn:
                seconds.setdefault(f"one process, {threads} thread{'s' * (threads > 1)}", []).append(took)
                gradients += [found] if threads == 1 else []
            torch.set_num_threads(1)
        dist.barrier()
        started = time.perf_counter()
        apart.step()  # one on each rank, at the same time
        dist.barrier()
        if turn:
            seconds.setdefault(f"{world} such processes, each a whole step", []).append(time.perf_counter() - started)
        with counting() as sent:
            started = time.perf_counter()
            shared.step()
        dist.barrier()
        if turn:
            seconds.setdefault(f"{world} ranks", []).append(time.perf_counter() - started)
    bandwidth = measured_bandwidth(sum(sent.bytes.values()))
    if number == 0:
        report(options, world, seconds, gradients, sent, bandwidth, alone[1], shared)
    dist.destroy_process_group()


def measured_bandwidth(size: int) -> float:
    """Return the bytes a second of an all-reduce of that many bytes."""
    value = torch.zeros(size // 4)
    dist.all_reduce(value)
    started = time.perf_counter()
    for _ in range(5):
        dist.all_reduce(value)
    return 5 * size / (time.perf_counter() - started)


def report(
    options: argparse.Namespace,
    world: int,
    seconds: dict[str, list[float]],
    gradients: list[list[float]],
    sent: Sent,
    bandwidth: float,
    sequential: mlo.Engine,
    shared: mlo.Engine,
) -> None:
    """Print and store the figures."""
    ours, rival = seconds[f"{world} ranks"], seconds["one process, 1 thread"]
    faster = {name: over(times, ours) for name, times in seconds.items()}
    gap = max(
        float((a - b).abs().max())
        for name in sequential.graph.names
        for a, b in zip(_tensors(sequential, name), _tensors(shared, name), strict=True)
    )
    cost = statistics.median(second for found in gradients for second in found)
    rest = statistics.median(whole - sum(found) for whole, found in zip(rival, gradients, strict=True))
    volume = sum(sent.bytes.values())
    predicted = {
        label: {str(n): round(speed_up(n, cost, rest, volume, width), 2) for n in (2, 4, 8, 16, 32, 64)}
        for label, width in (("measured bandwidth", bandwidth), ("100 Gbit/s", ASSUMED))
    }
    long = {str(n): round(speed_up(n, cost, rest, volume, ASSUMED, rounds=32), 2) for n in (4, 8, 16, 32, 64)}
    found = {
        "size": vars(SIZES[options.size]),
        "form": options.form,
        "rounds": options.rounds,
        "clock": "perf_counter",
        "times faster": faster,
        "seconds": {name: statistics.median(times) for name, times in seconds.items()},
        "gradient seconds": cost,
        "other seconds": rest,
        "bytes": sent.bytes,
        "calls": sent.calls,
        "bandwidth": bandwidth,
        "predicted, K = M = 2": predicted,
        "predicted, K = 2, M = 32, 100 Gbit/s": long,
        "largest difference after all steps": gap,
    }
    for key, value in found.items():
        print(f"{key}: {value}")
    print(f"written: {store('stages', f'{options.size}, {options.form}, {world} ranks', found)}")


def speed_up(ranks: int, gradient: float, rest: float, volume: int, width: float, *, rounds: int = 2) -> float:
    """Return the predicted time of one process over that of `ranks`, for two tasks and finite differences.

    Up to 2 x rounds ranks share the stages, the others the batches. A step takes 3 gradients of each stage and one of
    each task. The rest of a step, and what stages tell each other, grows with the number of stages; ranks that share
    batches average every gradient, of a fourth of the volume of a step each.
    """
    stages = 2 * rounds
    members = min(ranks, stages)
    replicas = ranks // members
    serial = rest * rounds / 2
    alone = (3 * stages + 2) * gradient + serial
    taken = 3 * math.ceil(stages / members) + math.ceil(2 / members)
    talk = volume * rounds / 2 / width
    averages = taken * volume / 4 / width if replicas > 1 else 0.0
    return alone / (taken * gradient / replicas + serial + talk + averages)


def _tensors(of: mlo.Engine, name: str) -> list[Tensor]:
    value = of.values[name]
    return list(value.values()) if isinstance(value, dict) else [value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--form", choices=list(FORMS), default="batched")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with tempfile.TemporaryDirectory() as folder:
        arguments = (options.ranks, os.path.join(folder, "store"), options)
        torch.multiprocessing.spawn(rank, arguments, nprocs=options.ranks)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    sys.exit(main())
