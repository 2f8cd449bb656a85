"""How much of a cell the least change leaves: searches of evidence-rule again, with a learning rate larger by 1e-6.

    PYTHONPATH=. python benchmarks/evidence/perturbed.py runs/evidence-rule-cpu-1

Two rules that are used at the same seed find different cells. Part of that is the rule, and part is that a search is
chaotic: what differs in its last digits differs in an edge some steps later. This measures the second part. It repeats
the searches that the others are compared with, where the study has finished them; rows that are there are kept.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from applications.nas.report.markup import md_table
from applications.nas.run_folder import read_genotype
from applications.nas.search import search
from applications.nas.sweep.alike import shared_edges
from applications.nas.sweep.plan import SEED, Point
from applications.nas.sweep.point import searched
from applications.nas.sweep.study import swept_points
from benchmarks.evidence.archive import RESULTS, read_study
from benchmarks.evidence.rows import NONE
from benchmarks.quality.record import keep, load

FILE = RESULTS / "perturbed.json"
RELATIVE = 1e-6


def repeated(point: Point, folder: Path) -> dict[str, Any]:
    """Search again with a learning rate that differs by `RELATIVE`, and return how alike the two cells are.

    Args:
        point: A finished search.
        folder: Of its run.
    """
    asked = point.settings
    changed = replace(asked, weights=replace(asked.weights, lr=asked.weights.lr * (1 + RELATIVE)))
    with tempfile.TemporaryDirectory() as place:
        found = search(changed, Path(place) / "run").genotype
    first = read_genotype(folder)
    edges = len(first.normal.edges) + len(first.reduction.edges)
    return {"part": point.part, "seed": asked.seed, "shared": shared_edges(first, found), "edges": edges}


def to_repeat(folder: Path) -> list[Point]:
    """Return the finished searches of a study that its other ones are compared with."""
    settings = read_study(folder)
    plan = swept_points(settings)
    found = []
    for part in settings.parts:
        if part.reference in ("", part.name):
            own = [point for point in plan if point.part == part.name and point.cell is None]
            line = _without_seed(own[0])
            found += [point for point in own if _without_seed(point) == line and searched(folder / point.name)]
    return found


def _without_seed(point: Point) -> Mapping[str, str]:
    return {field: word for field, word in point.words.items() if field != SEED}


def sentence(rows: Mapping[str, Any], alike: Sequence[Sequence[str]]) -> str:
    """Say how many edges rules leave, and how many the least change leaves.

    Args:
        rows: What `repeated` returned, by point.
        alike: Rows of the study under `applications.nas.sweep.alike.HEAD`.
    """
    parts = []
    for part in dict.fromkeys(row["part"] for row in rows.values()):
        shared = [row["shared"] for row in rows.values() if row["part"] == part]
        others = [row[3] for row in alike if row[2].partition(",")[0] == part]
        ends = sorted((float(text.split()[0]), text) for text in others)
        seeds = next((row[4] for row in alike if row[0].partition(",")[0] == part), "-")
        if ends and seeds != "-":
            least = f"{statistics.fmean(shared):.1f} ({min(shared)} to {max(shared)})"
            parts.append(
                f"{part}, the cells of other rules share {ends[0][0]:.1f} to {ends[-1][1]} edges with that of the "
                "exact one at the same seed, on average; a learning rate larger by a millionth leaves "
                f"{least}, another seed {seeds.split()[0]}"
            )
    return f"**Does the rule change the cell?** {'; '.join(parts)}." if parts else ""


def told(rows: Mapping[str, Any]) -> str:
    """Return a table of the rows, a line for each part of the study."""
    if not rows:
        return NONE
    lines = []
    for part in dict.fromkeys(row["part"] for row in rows.values()):
        own = [row for row in rows.values() if row["part"] == part]
        each = ", ".join(str(row["shared"]) for row in sorted(own, key=lambda row: int(row["seed"])))
        mean = f"{statistics.fmean(row['shared'] for row in own):.1f} of {own[0]['edges']}"
        lines.append([part, str(len(own)), mean, each])
    return md_table(["searches", "repeated", "same edges, mean", "seed by seed"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the study evidence-rule")
    parser.add_argument("--out", type=Path, default=FILE, help="where rows are kept")
    parser.add_argument("--share", type=int, nargs=2, default=(0, 1), metavar=("K", "N"), help="every N-th from K")
    options = parser.parse_args()
    first, every = options.share
    for point in to_repeat(options.folder)[first::every]:
        if point.name not in load(options.out):
            row = repeated(point, options.folder / point.name)
            keep(options.out, point.name, row, "python benchmarks/evidence/perturbed.py runs/evidence-rule-cpu-1")
            print(f"{point.name}: {row['shared']} of {row['edges']} edges", flush=True)


if __name__ == "__main__":
    main()
