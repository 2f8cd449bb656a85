"""How alike the cells are that a study found: whether a setting changes the cell more than another seed does."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from applications.nas.run_folder import read_genotype
from applications.nas.space.cell import CELL_TYPES
from applications.nas.space.genotype import Cell, Genotype
from applications.nas.sweep.plan import SEED, Point
from applications.nas.sweep.point import searched
from applications.nas.sweep.study import StudySettings

HEAD = ("cells", "found", "compared with", "same edges, same seed", "same edges, other seed")


def alike_rows(settings: StudySettings, plan: Sequence[Point], folder: Path) -> list[list[str]]:
    """Compare the cells of each line of a study with those of its reference, and with each other.

    Args:
        settings: The study; a part names the one whose first line is its reference.
        plan: Its points.
        folder: Its folder.

    Returns:
        Rows under `HEAD`: mean numbers of edges that two cells share, of all that a genotype has.
    """
    lines: dict[str, dict[str, dict[str, Genotype]]] = {part.name: {} for part in settings.parts}
    for point in plan:
        if point.cell is None:
            words = [f"{field.rpartition('.')[2]} {word}" for field, word in point.words.items() if field != SEED]
            found = lines[point.part].setdefault(", ".join([point.part, *words]), {})
            if searched(folder / point.name):
                found[point.words[SEED]] = read_genotype(folder / point.name)
    rows = []
    for part in settings.parts:
        reference, cells = next(iter(lines[part.reference or part.name].items()))
        for label, found in lines[part.name].items():
            told = ["-", "-"] if label == reference else [reference, _across(found, cells)]
            rows.append([label, str(len(found)), *told, _within(found)])
    return rows


def shared_edges(first: Genotype, second: Genotype) -> int:
    """Return how many edges two genotypes share: the same operation from the same state into the same node."""
    return sum(_shared(getattr(first, name), getattr(second, name)) for name in CELL_TYPES)


def _shared(first: Cell, second: Cell) -> int:
    def edges(cell: Cell) -> Counter[tuple[int, str]]:
        return Counter((index // 2, str(edge)) for index, edge in enumerate(cell.edges))

    return (edges(first) & edges(second)).total()


def _across(found: Mapping[str, Genotype], reference: Mapping[str, Genotype]) -> str:
    return _mean([shared_edges(found[seed], reference[seed]) for seed in found if seed in reference], found)


def _within(found: Mapping[str, Genotype]) -> str:
    return _mean([shared_edges(*pair) for pair in itertools.combinations(found.values(), 2)], found)


def _mean(counts: Sequence[int], found: Mapping[str, Genotype]) -> str:
    if not counts:
        return "-"
    genotype = next(iter(found.values()))
    edges = len(genotype.normal.edges) + len(genotype.reduction.edges)
    return f"{statistics.fmean(counts):.1f} of {edges}"
