"""One iteration of a search, alpha step and weight step, against the order of computation of the original programs.

    PYTHONPATH=. python benchmarks/whole_step.py            two small cases, two minutes
    PYTHONPATH=. python benchmarks/whole_step.py --all      all cases, a quarter of an hour
    PYTHONPATH=. python benchmarks/whole_step.py --device cuda --cases "DARTS-2nd, full" "interleaving, full" --compile

DARTS-2nd on one task, and interleaving with K = M = 2; finite differences, float32, random images. The rivals are
`original_order.py` and `original_interleaving.py`, which equal the engine in float64 (tests/nas/test_whole_step.py).
Counts are exact; times are CPU time of one process, on a GPU wall time with a wait at both ends, as ratios to the
rival of the same round. On a GPU the operations are what the host launches, and the peak is that of its allocator.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

import mlo
from applications.nas.formulations import Learner, build_graph, looks_ahead
from applications.nas.methods.base import initial_alphas
from applications.nas.networks.batched import BatchedSupernet
from applications.nas.networks.supernet import Supernet
from applications.nas.settings import GradientSettings, Interleaving, SearchSettings, SingleTask
from applications.nas.space.cell import CellSpace
from benchmarks.counting import counted
from benchmarks.original_interleaving import OriginalInterleaving
from benchmarks.original_order import OriginalDarts
from benchmarks.rounds import interleaved, over, store

RIVAL = "original order"
CLASSES = (100, 10)


@dataclass(frozen=True)
class Size:
    """How large a search is.

    Attributes:
        channels: C.
        layers: L.
        batch: Images in a batch.
        side: Height and width of an image.
        device: Where to compute.
    """

    channels: int
    layers: int
    batch: int
    side: int
    device: str = "cpu"

    def network(self, classes: int) -> Supernet:
        return Supernet(CellSpace(), self.channels, self.layers, classes).to(self.device)

    def learner(self, name: str, classes: int, form: Callable[[Supernet], nn.Module]) -> Learner:
        torch.manual_seed(classes)
        network = form(self.network(classes))
        pixels = torch.randn(2, self.batch, 3, self.side, self.side).to(self.device)
        train, valid = ([(x, torch.arange(self.batch, device=self.device) % classes)] for x in pixels)
        return Learner(name, network, train, valid)


CASES = {
    "DARTS-2nd, small": (Size(4, 3, 32, 16), False),
    "interleaving, tiny": (Size(4, 3, 8, 16), True),
    "DARTS-2nd, middle": (Size(8, 5, 16, 32), False),
    "interleaving, small": (Size(4, 3, 32, 16), True),
    "interleaving, middle": (Size(8, 5, 16, 32), True),
    "DARTS-2nd, full": (Size(16, 8, 64, 32), False),
    "interleaving, full": (Size(16, 8, 64, 32), True),
}
ON_CPU = list(CASES)[:5]
QUICK = list(CASES)[:2]


def plain(network: Supernet) -> nn.Module:
    return network


def compiled(network: Supernet) -> nn.Module:
    made = BatchedSupernet(network)
    made.compile()
    return made


FORMS: dict[str, Callable[[Supernet], nn.Module]] = {"plain": plain, "batched": BatchedSupernet}
COMPILED = "batched, compiled"


def steps(size: Size, interleaving: bool, chosen: list[str]) -> dict[str, Callable[[], object]]:
    """Return what makes one iteration: the rival's, and ours with each form of the supernet."""
    formulation = Interleaving(rounds=2) if interleaving else SingleTask()
    settings = SearchSettings(formulation=formulation, gradient=GradientSettings("difference"), batch=size.batch)
    drawn = {k: v.to(size.device) for k, v in initial_alphas(CellSpace(), torch.Generator().manual_seed(0)).items()}
    tasks = CLASSES if interleaving else CLASSES[1:]
    learners = [size.learner(str(classes), classes, plain) for classes in tasks]
    made: dict[str, Callable[[], object]] = {RIVAL: rival(size, learners, drawn, settings)}
    for name in chosen:
        form = compiled if name == COMPILED else FORMS[name]
        ours = [size.learner(str(classes), classes, form) for classes in tasks]
        made[f"engine, {name}"] = mlo.Engine(build_graph(ours, drawn, settings), look_ahead=looks_ahead(settings)).step
    return made


def rival(
    size: Size, learners: list[Learner], drawn: dict[str, torch.Tensor], settings: SearchSettings
) -> Callable[[], object]:
    """Return the iteration of the original program."""
    rate, trains = settings.weights.lr, [one.train[0] for one in learners]  # type: ignore[index]
    valids = [one.valid[0] for one in learners]  # type: ignore[index]
    if isinstance(settings.formulation, Interleaving):
        chain = OriginalInterleaving([one.network for one in learners], drawn, settings)
        return lambda: chain.step(trains * settings.formulation.rounds, valids, rate)  # type: ignore[union-attr]
    darts = OriginalDarts(lambda: size.network(CLASSES[1]), learners[0].network, drawn, settings)
    return lambda: darts.step(trains[0], valids[0], rate)


@contextmanager
def counting_passes() -> Iterator[list[nn.Module]]:
    """Collect the networks that are called in the body, once for each call."""
    called: list[nn.Module] = []

    def note(module: nn.Module, inputs: object) -> None:
        if hasattr(module, "encoder"):
            called.append(module)

    handle = register_module_forward_pre_hook(note)
    try:
        yield called
    finally:
        handle.remove()


def measured(size: Size, interleaving: bool, chosen: list[str], rounds: int) -> dict[str, Any]:
    """Return counts and times of one kind of iteration at one size."""
    actions = steps(size, interleaving, chosen)
    counts = {}
    for name, action in actions.items():
        action()  # the first makes the momenta
        with counting_passes() as passes:
            action()
        counts[name] = {"passes": len(passes), **counted(action, memory=True)[1].as_dict()}
        if size.device == "cuda":
            counts[name]["peak"] = cuda_peak(action)
    clock = waiting_clock if size.device == "cuda" else time.process_time
    seconds = interleaved(actions, rounds, clock)
    faster = {name: over(seconds[RIVAL], own) for name, own in seconds.items()}
    found = {"size": vars(size), "rounds": rounds, "clock": clock.__name__, "counts": counts, "times faster": faster}
    if size.device == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(), "seconds": {n: statistics.median(s) for n, s in seconds.items()}}
    return found


def waiting_clock() -> float:
    """Return the wall time when the GPU has caught up."""
    torch.cuda.synchronize()
    return time.perf_counter()


def cuda_peak(action: Callable[[], object]) -> int:
    torch.cuda.reset_peak_memory_stats()
    action()
    return torch.cuda.max_memory_allocated()


def shown(title: str, found: dict[str, Any]) -> None:
    rows = ["passes", "operations", "products", "syncs", "peak"]
    print(f"\n{title}, {found['size']}")
    print(f"{'':20}" + "".join(f"{row:>14}" for row in rows) + "   times faster (lowest - highest)")
    for name, counts in found["counts"].items():
        numbers = "".join(f"{counts[row]:14,}" for row in rows)
        fast = found["times faster"][name]
        print(f"{name:20}{numbers}   {fast['median']:.2f} ({fast['low']:.2f} - {fast['high']:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=QUICK, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--all", action="store_true", help="all cases that suit a CPU")
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS), help="of the supernet")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compile", action="store_true", help="the batched form by torch.compile as well")
    options = parser.parse_args()
    forms = [*options.forms, *([COMPILED] if options.compile else [])]
    logging.getLogger("mlo").setLevel(logging.ERROR)  # that the first stage dominates is known, and no matter here
    for name in ON_CPU if options.all else options.cases:
        size, interleaving = CASES[name]
        found = measured(replace(size, device=options.device), interleaving, forms, options.rounds)
        shown(name, found)
        where = "whole_step" if options.device == "cpu" else "whole_step_gpu"
        print(f"written: {store(where, name, found)}")


if __name__ == "__main__":
    main()
