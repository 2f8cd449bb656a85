"""Make the reports of all studies that are kept, and put what they say into docs/evidence/results.md.

PYTHONPATH=. python benchmarks/evidence/publish.py
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

from rich.console import Console

from applications.nas.commands import report
from applications.nas.sweep.studies import STUDIES
from benchmarks.evidence import perturbed, retrained
from benchmarks.evidence.archive import POINTS, RESULTS, ROOT, RUNS, unpack
from benchmarks.evidence.parts import PARTS
from benchmarks.evidence.rows import study_called
from benchmarks.evidence.short import short
from benchmarks.evidence.study import Kept, keep_whole, read_kept
from benchmarks.generated import filled
from benchmarks.quality.record import load

PAGE = ROOT / "docs" / "evidence" / "results.md"
TABLE = "evidence-table"
"""The study with random cells; others are compared with these, which are retrained in the same way."""
_DROPPED = ("*.png", "report.tex")


def reported(name: str, folder: Path, into: Path, *more: Path) -> None:
    """Write what `mlo-nas report` says of a study, in place of what was said before.

    Args:
        name: Of the study.
        folder: Where it is unpacked.
        into: Where the files go.
        more: Folders of random cells, if it has none of its own.
    """
    into.mkdir(parents=True, exist_ok=True)
    for file in into.iterdir():
        if file.name not in (RUNS, POINTS):
            file.unlink()
    report.run([str(folder), *map(str, more), "--out", str(into)], Console(file=io.StringIO(), width=200))
    for pattern in _DROPPED:
        for file in into.glob(pattern):
            file.unlink()
    page = into / "report.md"
    text = page.read_text(encoding="utf-8").replace("# Report\n", f"# {name}\n\n{_about(name)}\n", 1)
    page.write_text(text.rstrip() + "\n", encoding="utf-8")


def _about(name: str) -> str:
    return (
        f"{STUDIES[name].about} Made by `mlo-nas report` from the runs that are kept in `{RUNS}` beside this page; "
        "[Results](../../results.md) says what it comes to. Rows that fit a claim of another study are "
        "judged here, too; what counts is the answer of that study."
    )


def published(into: Path) -> list[Kept]:
    """Make the reports of all studies that are kept, each in a folder of its name, and return what they say."""
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        unpacked = {name: place / name for name in STUDIES if (RESULTS / name / RUNS).is_file()}
        for name, folder in unpacked.items():
            unpack(name, folder)
            keep_whole(folder)
        for name, folder in unpacked.items():
            if any(point.is_dir() for point in folder.iterdir()):
                random = [] if name == TABLE else sorted((place / TABLE).glob("random-*"))
                reported(name, folder, into / name, *random)
                found.append(read_kept(name, folder, into / name))
    return found


def generated(page: str, studies: list[Kept]) -> str:
    """Return the page of results with all its parts."""
    for part, write in PARTS.items():
        page = filled(page, part, write(studies))
    rows, table = load(retrained.FILE), study_called(studies, TABLE)
    page = filled(page, "retrained", retrained.told(rows, table))
    again = load(perturbed.FILE)
    page = filled(page, "perturbed", perturbed.told(again))
    rule = study_called(studies, "evidence-rule")
    said = [retrained.sentence(rows, table), perturbed.sentence(again, rule.alike if rule else [])]
    return filled(page, "short", "\n- ".join([short(studies), *filter(None, said)]))


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    studies = published(RESULTS)
    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8"), studies), encoding="utf-8")


if __name__ == "__main__":
    main()
