"""How good hypergradients are during a search: rules against the exact one, and against what the loss really does.

    PYTHONPATH=. python benchmarks/hypergradient_quality.py                     scikit-learn's digits
    PYTHONPATH=. python benchmarks/hypergradient_quality.py --images FOLDER     FOLDER/{train,test}/CLASS/IMAGE

A row is one point of one search, and takes minutes on a core; rows are stored as they come, and those that are there
are not measured again: stop it, and start it again, at any time. The small and informative ones come first. What is
measured, and what came out, is in docs/evidence/hypergradients.md.
"""

from __future__ import annotations

import argparse
import logging
import time
from itertools import islice
from pathlib import Path

import torch

from benchmarks.quality.cases import Case, planned, points
from benchmarks.quality.record import ROOT, keep, load, measured, solved

FILE = ROOT / "docs" / "evidence" / "results" / "hypergradients.json"
BATCH = 64


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of images, resized to 16 x 16; left out: digits")
    parser.add_argument("--out", type=Path, default=FILE, help="where rows are kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--rows", type=int, help="stop after so many new rows")
    parser.add_argument(
        "--share", type=int, nargs=2, default=(0, 1), metavar=("K", "N"), help="every N-th search from K"
    )
    return parser.parse_args()


def run(case: Case, options: argparse.Namespace, left: int) -> int:
    """Measure the rows of a case that are not there yet, `left` at most, and return how many."""
    data = options.images.name if options.images else "digits"
    asked = data if options.batch == BATCH else f"{data} in batches of {options.batch}"
    have, count = load(options.out), 0
    wanted = sorted(step for step in case.steps if case.title(asked, step) not in have)[:left]
    command = "python benchmarks/hypergradient_quality.py" + (f" --images {data}" if options.images else "")
    for step, point, elsewhere in points(case, options.images, options.batch, set(wanted)) if wanted else ():
        started = time.process_time()
        row = solved(point) if case.implicit else measured(point, elsewhere)
        fields = {"data": data, "method": case.method, "channels": case.channels, "layers": case.layers}
        about = {**fields, "shape": case.shape.title, "seed": case.seed, "steps": step, "batch": options.batch}
        keep(options.out, case.title(asked, step), {**about, **row}, command)
        print(f"{case.title(asked, step)}: {time.process_time() - started:.0f} s", flush=True)
        count += 1
    return count


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    logging.getLogger("mlo").setLevel(logging.ERROR)
    left = options.rows if options.rows is not None else 10**9
    first, every = options.share
    for case in islice(planned(options.seeds), first, None, every):
        left -= run(case, options, left)
        if left <= 0:
            return


if __name__ == "__main__":
    main()
