"""What `partial=True` leaves out: its error against the closed form, and its cost, on random quadratic graphs.

    python benchmarks/partial.py            prints the table of docs/choosing.md
    python benchmarks/partial.py --write    puts it there

Error: |found - truth| / |truth| of the hypergradient, over 20 random graphs of each shape (2 entries a problem,
float64, dense linear solves). Cost: operations that torch dispatches for one hypergradient, which do not depend on the
machine.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from torch.utils._python_dispatch import TorchDispatchMode

import mlo
from benchmarks.generated import filled
from mlo.testing import quadratic_graph

PAGE = Path(__file__).resolve().parents[1] / "docs" / "choosing.md"
SEEDS = 20

# For each problem, outermost first, which problems its loss reads.
SHAPES = {
    "bilevel": [[1], [0]],
    "siblings": [[1, 2, 3], [0], [0], [0]],
    "cascade of four": [[3], [0], [1], [2]],
    "diamond": [[1, 2], [3], [3], [0]],
    "min-min-min": [[1], [2], [0, 1]],
    "min-min-min, all reads": [[1, 2], [0, 2], [0, 1]],
    "a read that skips a level": [[2], [2], [0, 1]],
    "min-min-min-min": [[1], [2], [3], [0, 1, 2]],
    "five levels, all reads": [[1, 2, 3, 4], [0, 2, 3, 4], [0, 1, 3, 4], [0, 1, 2, 4], [0, 1, 2, 3]],
}


class Operations(TorchDispatchMode):
    """Counts what is dispatched while it is entered."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def measured(shape, seed, *, partial):
    """Return the relative error and the operations of one hypergradient; the error is 1 if nothing is left of it."""
    rules = [mlo.Implicit(mlo.Dense())] * (len(shape) - 1)
    drawn = quadratic_graph(shape, dims=[2] * len(shape), rules=rules, seed=seed)
    with Operations() as operations:
        try:
            found = mlo.hypergradient(drawn.graph, of=drawn.of, partial=partial)
        except mlo.LossError:  # the only way from the objective to the variable was left out
            return 1.0, operations.count
    truth = drawn.hypergradient
    return float((found - truth).norm() / truth.norm()), operations.count


def row(name, shape):
    exact = [measured(shape, seed, partial=False) for seed in range(SEEDS)]
    partial = [measured(shape, seed, partial=True) for seed in range(SEEDS)]
    worst = max(error for error, _ in exact)
    errors = [error for error, _ in partial]
    saved = statistics.median(p / e for (_, p), (_, e) in zip(partial, exact, strict=True))
    bound = next(limit for limit in ("1e-12", "1e-10", "1e-8", "1e-4", "inf") if worst <= float(limit))
    same = max(errors) <= 1e-12
    shown = "as exact" if same else f"{statistics.median(errors):.2f} (up to {max(errors):.2f})"
    return f"| {name} | < {bound} | {shown} | {saved:.2f} |"


def table():
    head = ["| graph | error, exact | error, `partial=True`: median (largest) | operations, partial : exact |"]
    return "\n".join([*head, "|---|---|---|---|", *(row(name, shape) for name, shape in SHAPES.items())])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    options = parser.parse_args()
    found = table()
    if options.write:
        PAGE.write_text(filled(PAGE.read_text(), "partial", found))
    print(found)


if __name__ == "__main__":
    main()
