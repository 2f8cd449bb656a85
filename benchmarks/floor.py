"""What a hypergradient and an outer step dispatch, against hand-written minima.

    python benchmarks/floor.py                                   counts and times, into benchmarks/results/floor.json
    python benchmarks/floor.py --rounds 0                        counts alone, and nothing is stored
    python benchmarks/floor.py --where "deep cg hypergradient"   which lines of mlo dispatch what, against the minimum

Rows: `deep`, 60 tensors, by four rules; `chain`, an interleaving with K = M = 2; `wide`, 1,400 small tensors. By hand
in three ways: a list with one operation for each tensor (`each`), torch's operations on lists (`foreach`), one vector
with views (`flat`). The floor is the least of the three.

Limits (exit code 1 where one is missed): the same products; operations at most 1.05 times the floor, and on `wide` at
most 0.85 times `each`; one look at a value, at the end, and where a solver runs one before it, one in each of its
steps, and one after it; the same result to 1e-12 in float64.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch
from torch import Tensor

from benchmarks import where
from benchmarks.counting import Counting, Counts, peak_of
from benchmarks.floor_rows import Row, Run, rows
from benchmarks.rounds import interleaved, over, store

OVER_FLOOR, OF_EACH, ERROR = 1.05, 0.85, 1e-12


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="rounds of timing; 0 leaves times out")
    parser.add_argument("--only", default="", help="a part of the name of the rows to run")
    parser.add_argument("--where", metavar="ROW", help="show where a row's operations come from, and do no more")
    parser.add_argument(
        "--size",
        choices=("small", "full"),
        default="full",
        help="small: the same counts, tiny layers; nothing is stored",
    )
    return parser.parse_args()


def count(act: Any, read: Any, *, memory: bool) -> tuple[list[Tensor], Counts]:
    """Run once, read the result at once (an engine goes on), and measure memory in a run of its own."""
    with Counting() as mode:
        result = act()
    value = read(result)
    return value, mode.counts(peak_of(act) if memory else 0)


def counts_of(run: Run, *, memory: bool = False) -> tuple[dict[str, Counts], float]:
    """Return the counts of ours and of the hand-written versions, and the largest difference of ours from them."""
    value, ours = count(run.ours, run.value, memory=memory)
    found, errors = {"ours": ours}, []
    for name, act in run.hands.items():
        truth, found[name] = count(act, lambda result, name=name: run.hand_value(name, result), memory=memory)
        errors.append(distance(value, truth))
    return found, max(errors)


@torch.no_grad()
def distance(found: list[Tensor], truth: list[Tensor]) -> float:
    """Return the larger of |found - truth| / |truth| of the upper variable, which comes first, and of the rest."""

    def apart(pairs: list[tuple[Tensor, Tensor]]) -> float:
        off = sum(float((one - other).norm()) ** 2 for one, other in pairs)
        return (off / sum(float(other.norm()) ** 2 for _, other in pairs)) ** 0.5

    pairs = list(zip(found, truth, strict=True))
    return max(apart(part) for part in (pairs[:1], pairs[1:]) if part)


def floor(counts: dict[str, Counts]) -> Counts:
    """Return the hand-written version with the fewest operations."""
    return min((counts[name] for name in counts if name != "ours"), key=lambda one: one.operations)


def misses(row: Row, counts: dict[str, Counts], error: float) -> list[str]:
    """Return the limits that a row does not keep, in words."""
    ours, least, each = counts["ours"], floor(counts), counts["each"]
    most = int(OF_EACH * each.operations if row.problem == "wide" else OVER_FLOOR * least.operations)
    found = []
    if ours.products != least.products:
        found.append(f"{row.name}: {ours.products} products, by hand {least.products}")
    if ours.operations > most:
        found.append(f"{row.name}: {ours.operations} operations, at most {most} (by hand {least.operations})")
    if ours.syncs > row.syncs:
        found.append(f"{row.name}: {ours.syncs} looks at a value, at most {row.syncs}")
    if not error <= ERROR:
        found.append(f"{row.name}: differs from the hand-written version by {error:.1e}")
    return found


HEAD = f"{'':32}{'operations':>22}{'of each':>9}{'products':>10}{'looks':>7}{'peak':>7}{'error':>9}{'time':>20}"


def line(name: str, found: dict[str, Any]) -> str:
    """Return a row as text: ours over the floor, and over one operation for each tensor."""
    ours, each, least = found["counts"]["ours"], found["counts"]["each"], found["counts"][found["floor"]]
    operations = f"{ours['operations']}/{least['operations']} {ours['operations'] / least['operations']:.3f}"
    spent = (
        "{median:.2f} ({low:.2f} to {high:.2f})".format(**found["time over flat"]) if "time over flat" in found else ""
    )
    rest = f"{ours['operations'] / each['operations']:9.2f}{ours['products']:10}{ours['syncs']:7}"
    return f"{name:32}{operations:>22}{rest}{ours['peak'] / least['peak']:7.2f}{found['error']:9.1e}{spent:>20}"


def measured(row: Row, options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Return all figures of a row, and the limits that it misses."""
    torch.set_default_dtype(torch.float64)
    counts, error = counts_of(row.prepare(options.size), memory=True)
    least = next(name for name, one in counts.items() if one is floor(counts))
    found: dict[str, Any] = {"counts": {name: one.as_dict() for name, one in counts.items()}, "floor": least}
    found |= {"error": error, "rounds": options.rounds, "clock": "process_time"}
    torch.set_default_dtype(torch.float32)
    if options.rounds and row.what == "hypergradient":
        run = row.prepare(options.size)
        seconds = interleaved({"ours": run.ours, **run.hands}, options.rounds)
        found |= {f"time over {name}": over(seconds["ours"], seconds[name]) for name in run.hands}
    return found, misses(row, counts, error)


def main() -> int:
    options = parse()
    torch.set_num_threads(1)
    chosen = [row for row in rows() if (options.where or options.only) in row.name]
    if options.where:
        run = chosen[0].prepare(options.size)
        print(where.table(run.ours, run.hands["flat"]), "", where.memory(run.ours), sep="\n")
        print("by hand:", where.memory(run.hands["flat"]))
        return 0
    print(HEAD)
    missed = list[str]()
    for row in chosen:
        found, words = measured(row, options)
        missed += words
        print(line(row.name, found), flush=True)
        if options.rounds and options.size == "full":
            store("floor", row.name, found)
    print(*missed, sep="\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
