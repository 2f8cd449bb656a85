"""Run all benchmarks of speed, and compare what they count with what is stored in benchmarks/results.

    python benchmarks/bench.py                    fails where a count got worse, or a benchmark's own limit is missed
    python benchmarks/bench.py --store            keeps the new figures
    python benchmarks/bench.py --only floor

Counts do not depend on the load of the machine: one more is one more. Peaks of bytes may differ by a percent, as
Python's collector of garbage decides when a cycle of objects goes. Ratios of times are printed beside the stored ones.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.rounds import RESULTS

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ("floor", "views", "supernet", "whole_step", "input_pipeline", "peers_speed")
RIVALS = {"each", "foreach", "flat", "theirs", "original order"}
"""Names of what is counted beside ours: theirs may get worse."""
SLACK = {"peak": 1.01}

Figures = Mapping[str, Any]
Keys = tuple[str, ...]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=SCRIPTS, choices=SCRIPTS, metavar="NAME", help=", ".join(SCRIPTS))
    parser.add_argument("--store", action="store_true", help="keep the new figures in benchmarks/results")
    parser.add_argument("--peers", type=Path, nargs="*", default=[], help="folders with other libraries")
    return parser.parse_args()


def counts(found: Any, path: Keys = (), *, inside: bool = False) -> Iterator[tuple[Keys, int]]:
    """Yield every whole number of ours below a key "counts", with the keys that lead to it."""
    if isinstance(found, Mapping):
        for key, value in found.items():
            if key not in RIVALS and not key.startswith("rival"):
                here = path if key == "counts" else (*path, key)
                yield from counts(value, here, inside=inside or key == "counts")
    elif isinstance(found, list):
        for index, value in enumerate(found):
            yield from counts(value, (*path, str(index)), inside=inside)
    elif inside and isinstance(found, int):
        yield path, found


def ratios(found: Any, path: Keys = ()) -> Iterator[tuple[Keys, Figures]]:
    """Yield every median with its spread, with the keys that lead to it."""
    if isinstance(found, Mapping) and {"median", "low", "high"} <= set(found):
        yield path, found
    elif isinstance(found, Mapping | list):
        items = found.items() if isinstance(found, Mapping) else enumerate(found)
        for key, value in items:
            yield from ratios(value, (*path, str(key)))


def worse(new: Figures, old: Figures) -> list[str]:
    """Return the counts that grew, in words, and those that are not there any more."""
    now, found = dict(counts(new)), []
    for path, before in counts(old):
        name = ", ".join(path)
        if path not in now:
            found.append(f"{name}: was {before}, is not counted any more")
        elif now[path] > before * SLACK.get(path[-1], 1.0):
            found.append(f"{name}: was {before}, is {now[path]}")
    return found


def beside(new: Figures, old: Figures) -> list[str]:
    """Return the ratios of times beside the stored ones."""
    before, lines = dict(ratios(old)), []
    for path, now in ratios(new):
        stored = before.get(path)
        was = f"{stored['median']:8.2f} ({stored['low']:.2f} to {stored['high']:.2f})" if stored else "     new"
        lines.append(f"  {', '.join(path):64}{now['median']:8.2f} ({now['low']:.2f} to {now['high']:.2f}), stored{was}")
    return lines


def run(name: str, options: argparse.Namespace) -> list[str]:
    """Run one benchmark; return what got worse. Unless they are to be kept, the new figures are taken back."""
    if not (ROOT / "benchmarks" / f"{name}.py").exists():
        return [f"{name}: there is no benchmarks/{name}.py"]
    path, started = RESULTS / f"{name}.json", time.perf_counter()
    stored = path.read_text() if path.exists() else "{}"
    folders = ["--peers", *map(str, options.peers)] if name == "peers_speed" and options.peers else []
    try:
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *folders], cwd=ROOT)
        new = json.loads(path.read_text()) if path.exists() else {}
    finally:
        if not options.store and path.exists():
            path.write_text(stored) if stored != "{}" else path.unlink()
    old = json.loads(stored)
    print(f"{name}: {time.perf_counter() - started:.0f} s; ratios of times", *beside(new, old), sep="\n", flush=True)
    failed = [f"{name}: ended with status {done.returncode}"] if done.returncode else []
    return failed + [f"{name}: {words}" for words in worse(new, old)]


def main() -> int:
    options = parse()
    started = time.perf_counter()
    found = [words for name in options.only for words in run(name, options)]
    print(f"all: {time.perf_counter() - started:.0f} s")
    if found:
        print("worse than stored, or over a limit:", *found, sep="\n  ")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
