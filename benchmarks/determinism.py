"""What `mlo.deterministic` costs: a step of a search inside it, over the same step outside.

    PYTHONPATH=. python benchmarks/determinism.py                    on a CPU: the smallest cases of whole_step.py
    PYTHONPATH=. python benchmarks/determinism.py --device cuda --cases "DARTS-2nd, full" "interleaving, full"

Both make the same steps, in turn, from the same values. On a GPU both run with CUBLAS_WORKSPACE_CONFIG, which a process
reads once, so what that costs by itself is not in the ratio.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

import mlo
from benchmarks.rounds import interleaved, over, store
from benchmarks.whole_step import CASES, QUICK, Size, steps, waiting_clock

FORM = "batched"
NAMES = ("as it is", "deterministic")


def inside(step: Callable[[], object]) -> Callable[[], object]:
    """Return the step in deterministic mode."""

    def made() -> object:
        with mlo.deterministic():
            return step()

    return made


def measured(size: Size, interleaving: bool, rounds: int) -> dict[str, Any]:
    """Return the time of a step in deterministic mode over that of the same step without."""
    pair = [steps(size, interleaving, [FORM])[f"engine, {FORM}"] for _ in NAMES]
    clock = waiting_clock if size.device == "cuda" else time.process_time
    seconds = interleaved({NAMES[0]: pair[0], NAMES[1]: inside(pair[1])}, rounds, clock)
    ratio = over(seconds[NAMES[1]], seconds[NAMES[0]])
    found = {"size": vars(size), "rounds": rounds, "clock": clock.__name__, "time over as it is": ratio}
    return found | ({"gpu": torch.cuda.get_device_name()} if size.device == "cuda" else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=QUICK, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    logging.getLogger("mlo").setLevel(logging.ERROR)  # that the first stage dominates is known, and no matter here
    with mlo.deterministic():  # before anything is put on a GPU
        pass
    for name in options.cases:
        size, interleaving = CASES[name]
        found = measured(replace(size, device=options.device), interleaving, options.rounds)
        ratio = found["time over as it is"]
        print(f"{name}: {ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f}) times a step without")
        print(f"written: {store('determinism', f'{options.device}, {name}', found)}")


if __name__ == "__main__":
    main()
