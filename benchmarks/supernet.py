"""The batched form of the supernet against the plain one: counts, peak of memory, and ratios of times.

    PYTHONPATH=. python benchmarks/supernet.py                  two minutes on a CPU
    PYTHONPATH=. python benchmarks/supernet.py --rounds 15 --only darts-8

One gradient of the loss in the weights, in the architecture alone (the weights take part as constants, as in the
architecture's step), or in both; float32, random images, statistics kept. Counts are exact; times are CPU time of one
process, as ratios to the other form in the same round. `--compile` times torch.compile of both forms instead.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from applications.nas.methods import AbstractMethod, Darts, PCDarts, PDarts, Progress
from applications.nas.networks.batched import BatchedSupernet
from applications.nas.networks.supernet import Supernet
from applications.nas.space.cell import CELL_TYPES, CellSpace
from applications.nas.space.operations import PRIMITIVES
from benchmarks.counting import counted
from benchmarks.rounds import interleaved, over, store

GRADIENTS = ("weights", "architecture", "both")
# P-DARTS in its second stage: 5 of 8 operations on each edge, which an edge's number decides here
KEPT = tuple(tuple(PRIMITIVES[(row + step) % 8] for step in (0, 3, 4, 5, 6)) for row in range(14))


@dataclass(frozen=True)
class Case:
    """A supernet and its data.

    Attributes:
        method: Makes the edges.
        channels: C.
        layers: L.
        batch: Images in a batch.
        side: Height and width of an image.
        space: What edges hold.
    """

    method: AbstractMethod
    channels: int
    layers: int
    batch: int
    side: int
    space: CellSpace = CellSpace()

    @property
    def size(self) -> str:
        return f"C = {self.channels}, L = {self.layers}, batch {self.batch}, {self.side}x{self.side}"


CASES = {
    "darts-8": Case(Darts(), 8, 5, 16, 32),
    "darts-4": Case(Darts(), 4, 3, 32, 16),
    "pdarts": Case(PDarts(), 4, 11, 16, 16, CellSpace().narrow(dict.fromkeys(CELL_TYPES, KEPT))),
    "pcdarts": Case(PCDarts(), 16, 5, 16, 32),
}


class Problem:
    """One gradient of a case, in either form."""

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        self.method, self.progress = case.method, Progress(0, 0, 1)
        plain = Supernet(case.space, case.channels, case.layers, 10, mixed=case.method.mixed_operation)
        self.forms: dict[str, nn.Module] = {"plain": plain, "batched": BatchedSupernet(plain)}
        for form in self.forms.values():
            case.method.begin_epoch(form, Progress(1 if isinstance(case.method, PDarts) else 0, 0, 25))
        drawn = case.method.initial(case.space, torch.Generator().manual_seed(0))
        self.variables = {name: table.requires_grad_() for name, table in drawn.items()}
        self.x, self.y = torch.randn(case.batch, 3, case.side, case.side), torch.arange(case.batch) % 10

    def loss(self, form: nn.Module, tables: dict[str, Tensor]) -> Tensor:
        return cross_entropy(form(self.x, tables), self.y)

    def act(self, name: str, gradient: str) -> Callable[[], object]:
        """Return what takes one gradient."""
        form = self.forms[name]
        weights = list(form.parameters()) if gradient != "architecture" else []
        tables = list(self.variables.values()) if gradient != "weights" else []

        def run() -> object:
            form.requires_grad_(bool(weights))
            torch.manual_seed(1)
            with torch.set_grad_enabled(bool(tables)):
                mixing = self.method.relax(self.variables, self.progress)
            return torch.autograd.grad(self.loss(form, mixing), [*weights, *tables])

        return run


def measure(case: Case, rounds: int) -> dict[str, Any]:
    problem = Problem(case)
    found: dict[str, Any] = {"size": case.size, "counts": {}, "times": {}}
    for gradient in GRADIENTS:
        acts = {name: problem.act(name, gradient) for name in problem.forms}
        figures = {name: counted(act, memory=True)[1] for name, act in acts.items()}
        kept = ("operations", "products", "peak")
        found["counts"][gradient] = {name: {key: one.as_dict()[key] for key in kept} for name, one in figures.items()}
        if gradient == "both" or case is CASES["darts-8"]:  # the goal's case is timed in every gradient
            seconds = interleaved(acts, rounds)
            found["times"][gradient] = over(seconds["plain"], seconds["batched"])
    return found


def show(name: str, found: dict[str, Any]) -> None:
    print(f"{name}: {found['size']}")
    print(f"  {'gradient in':14}{'operations':>18}{'products':>16}{'peak, MB':>16}{'times faster':>24}")
    for gradient in GRADIENTS:
        counts, times = found["counts"][gradient], found["times"].get(gradient)
        pairs = [f"{counts['plain'][key]:,}/{counts['batched'][key]:,}" for key in ("operations", "products")]
        peak = f"{counts['plain']['peak'] / 1e6:.0f}/{counts['batched']['peak'] / 1e6:.0f}"
        ratio = f"{times['median']:.2f} ({times['low']:.2f} to {times['high']:.2f})" if times else ""
        print(f"  {gradient:14}{pairs[0]:>18}{pairs[1]:>16}{peak:>16}{ratio:>24}")


def compiled(case: Case, rounds: int) -> dict[str, Any]:
    """Time the loss and its gradient in both with torch.compile, against the plain form without it."""
    problem = Problem(case)
    acts: dict[str, Callable[[], object]] = {name: problem.act(name, "both") for name in problem.forms}
    found: dict[str, Any] = {"size": case.size, "compilation, s": {}}
    for name, form in list(problem.forms.items()):
        key = f"{name}, compiled"
        problem.forms[key] = torch.compile(form)  # type: ignore[assignment]
        acts[key] = problem.act(key, "both")
        started = time.perf_counter()
        acts[key]()
        found["compilation, s"][name] = round(time.perf_counter() - started, 1)
    seconds = interleaved(acts, rounds)
    found["times"] = {name: over(seconds["plain"], seconds[name]) for name in acts if name != "plain"}
    return found


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES), metavar="NAME")
    parser.add_argument("--compile", action="store_true", help="time torch.compile; compiling takes minutes")
    return parser.parse_args()


def main() -> None:
    options = parse()
    for name in options.only:
        if options.compile:
            found = compiled(CASES[name], options.rounds)
            print(name, found)
            store("supernet_compiled", name, found)
        else:
            found = measure(CASES[name], options.rounds)
            show(name, found)
            store("supernet", name, found)


if __name__ == "__main__":
    main()
