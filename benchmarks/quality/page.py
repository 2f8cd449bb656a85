"""Put the rows of the study of hypergradients into docs/evidence/hypergradients.md, between its marks.

PYTHONPATH=. python benchmarks/quality/page.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks.generated import filled
from benchmarks.hypergradient_quality import FILE
from benchmarks.quality import tables
from benchmarks.quality.record import ROOT, load
from benchmarks.quality.short import short
from benchmarks.quality.tables import Rows

PAGE = ROOT / "docs" / "evidence" / "hypergradients.md"
PARTS: dict[str, Callable[[Rows], str]] = {
    "measured": tables.measured,
    "errors": tables.errors,
    "cosines": tables.cosines,
    "training": tables.training,
    "larger": tables.larger,
    "precisions": tables.precisions,
    "shapes": tables.shapes,
    "crossings": tables.crossings,
    "predictions": tables.predictions,
    "matched": tables.matched,
    "gains": tables.gains,
    "implicit": tables.implicit,
    "prices": tables.prices,
}
"""By the name of a mark, its table."""


def generated(page: str) -> str:
    """Return the page with all its tables."""
    rows = list(load(FILE).values())
    ahead = [row for row in rows if "judge" in row]
    for part, table in PARTS.items():
        page = filled(page, part, table(rows if part == "implicit" else ahead))
    return filled(page, "short", short(ahead))


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
