"""P-DARTS against its algorithm written out as in the source's program: numpy tables, operations by number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from applications.nas.methods import PDarts, Progress
from applications.nas.space.cell import CELL_TYPES, CellSpace
from applications.nas.space.operations import PRIMITIVES

Table = NDArray[np.float32]
Names = list[list[int]]
NONE, SKIP, END = 0, 3, Progress(2, 24, 25)


def dropped(weights: Table, names: list[int], count: int, *, none_first: bool) -> set[int]:
    """Return the places that go: the lightest, one after the other; in the last stage "none" before all others."""
    left, gone = weights.copy(), []
    if none_first and names[0] == NONE:
        gone, left[0] = [0], 9.0
    while len(gone) < count:
        gone.append(int(np.argmin(left)))  # the first of equals
        left[gone[-1]] = 9.0
    return set(gone)


def narrowed(table: Table, names: Names, count: int) -> Names:
    pairs = zip(softmax(table), names, strict=True)
    gone = [(dropped(row, own, count, none_first=False), own) for row, own in pairs]
    return [[name for place, name in enumerate(own) if place not in places] for places, own in gone]


def softmax(table: Table) -> Table:
    found: Table = torch.from_numpy(table).softmax(-1).numpy()
    return found


def two_edges_a_node(weights: Table) -> list[int]:
    kept, start = [0, 1], 2
    for size in (3, 4, 5):
        order = sorted(range(size), key=lambda edge: float(weights[start + edge].max()))
        kept += [order[-1] + start, order[-2] + start]
        start += size
    return kept


def derived(table: Table, names: Names, limit: int | None) -> list[tuple[str, int]]:
    weights = softmax(table)
    for row, own in zip(weights, names, strict=True):
        if own[0] == NONE:
            row[0] = 0.0  # without normalizing anew
    while True:
        ones = [
            next(name for place, name in enumerate(own) if place not in dropped(row, own, 2, none_first=True))
            for row, own in zip(weights, names, strict=True)
        ]
        kept = two_edges_a_node(weights)
        skips = [edge for edge in range(14) if edge in kept and ones[edge] == SKIP]
        if limit is None or len(skips) <= limit:
            break
        lightest = min(skips, key=lambda edge: float(weights[edge, names[edge].index(SKIP)]))
        weights[lightest, names[lightest].index(SKIP)] = 0.0
    starts = {edge: start for start, size in ((0, 2), (2, 3), (5, 4), (9, 5)) for edge in range(start, start + size)}
    return [(PRIMITIVES[ones[edge]], edge - starts[edge]) for edge in sorted(kept)]


@pytest.mark.parametrize("ties", [False, True], ids=["all differ", "ties"])
def test_a_whole_search_of_random_tables(ties: bool) -> None:
    """Two narrowings and the derivation; the skips are made heavy, so that the limit is at work."""
    draws, space, limited = np.random.default_rng(int(ties)), CellSpace(), 0
    for trial in range(150):
        space, names = CellSpace(), {kind: [list(range(8)) for _ in range(14)] for kind in CELL_TYPES}
        tables: dict[str, Table] = {}
        for columns, gone in ((8, 3), (5, 2), (3, 0)):
            for kind in CELL_TYPES:
                table = draws.standard_normal((14, columns)).astype(np.float32)
                for row, own in zip(table, names[kind], strict=True):
                    row[[name == SKIP for name in own]] += trial % 3
                tables[kind] = table.round() if ties else table
            if gone:
                found = {kind: torch.from_numpy(table) for kind, table in tables.items()}
                space = PDarts().narrow(found, space, columns - gone)
                names = {kind: narrowed(tables[kind], names[kind], gone) for kind in CELL_TYPES}
                expected = {
                    kind: tuple(tuple(PRIMITIVES[name] for name in own) for own in names[kind]) for kind in names
                }
                assert space.choices == expected
        limit = trial % 4
        genotype = PDarts(skips=limit).derive({n: torch.from_numpy(t) for n, t in tables.items()}, space, END)
        for kind, most in (("normal", limit), ("reduction", None)):
            cell = [(edge.operation, edge.predecessor) for edge in getattr(genotype, kind).edges]
            assert cell == derived(tables[kind], names[kind], most)
        free = derived(tables["normal"], names["normal"], None)
        limited += free != derived(tables["normal"], names["normal"], limit)
    assert limited > 30, "the limit was often at work"
