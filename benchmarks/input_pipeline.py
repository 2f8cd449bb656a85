"""What the batches of a search cost, as a share of the step that they are for.

    PYTHONPATH=. python benchmarks/input_pipeline.py                        a minute
    PYTHONPATH=. python benchmarks/input_pipeline.py --sizes "large, 64"    C = 16, L = 8: half an hour, and 10 GB

An iteration of DARTS draws a training and a validation batch. They are drawn from 25,000 32x32 uint8 images in memory,
with the crop and flip of the protocol, and with cutout 16; the step is DARTS-2nd by the engine on the plain supernet,
which is handed its batches ready. Counts of operations are exact; shares are CPU time of one process.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

import mlo
from applications.nas.data import Augment, Batches, Images
from applications.nas.data.cifar import STATISTICS
from applications.nas.formulations import build_graph
from applications.nas.methods.base import initial_alphas
from applications.nas.settings import GradientSettings, SearchSettings, SingleTask
from applications.nas.space.cell import CellSpace
from benchmarks.counting import counted
from benchmarks.rounds import interleaved, over, store
from benchmarks.whole_step import Size, plain

SIZES = {"middle, 16": Size(8, 5, 16, 32), "middle, 64": Size(8, 5, 64, 32), "large, 64": Size(16, 8, 64, 32)}
AUGMENTS = {"crop and flip": Augment(), "crop, flip, cutout": Augment(cutout=16)}
REPEATS = 20  # draws that are timed together: one alone is too short for the clock


def endless(batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from batches


def drawing(images: Images, size: int, augment: Augment, pairs: int) -> Callable[[], object]:
    """Return what draws a training and a validation batch, `pairs` times."""
    mean, std = STATISTICS[10]
    streams = [endless(Batches(images, size=size, seed=s, mean=mean, std=std, augment=augment)) for s in (0, 1)]
    for stream in streams:
        next(stream)  # the order of an epoch is drawn with its first batch

    def draw() -> None:
        for _ in range(pairs):
            for stream in streams:
                next(stream)

    return draw


def step(size: Size) -> Callable[[], object]:
    """Return one iteration of DARTS-2nd whose batches are there."""
    settings = SearchSettings(formulation=SingleTask(), gradient=GradientSettings("difference"), batch=size.batch)
    drawn = initial_alphas(CellSpace(), torch.Generator().manual_seed(0))
    return mlo.Engine(build_graph([size.learner("task", 10, plain)], drawn, settings), look_ahead=True).step


def measured(size: Size, images: Images, rounds: int) -> dict[str, Any]:
    """Return counts of a pair of batches, and its share of a step."""
    draws = {name: drawing(images, size.batch, how, REPEATS) for name, how in AUGMENTS.items()}
    counts = {
        name: counted(drawing(images, size.batch, how, 1), memory=True)[1].as_dict() for name, how in AUGMENTS.items()
    }
    seconds = interleaved({**draws, "step": step(size)}, rounds)
    whole = [REPEATS * value / 100 for value in seconds["step"]]
    shares = {name: over(seconds[name], whole) for name in draws}
    return {
        "size": vars(size),
        "rounds": rounds,
        "clock": "process_time",
        "counts": counts,
        "percent of a step": shares,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["middle, 16"], help="name and batch")
    options = parser.parse_args()
    pixels = torch.randint(256, (25_000, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Images(pixels, torch.arange(len(pixels)) % 10)
    for name in options.sizes:
        found = measured(SIZES[name], images, options.rounds)
        print(f"\n{name}, {found['size']}")
        for how, share in found["percent of a step"].items():
            wide = f"{share['median']:.3f} % of a step ({share['low']:.3f} - {share['high']:.3f})"
            print(f"{how:20}{found['counts'][how]['operations']:6} operations for two batches, {wide}")
        print(f"written: {store('input_pipeline', name, found)}")


if __name__ == "__main__":
    main()
