"""A hypergradient, and an outer step, take what the mathematics needs and next to nothing more.

The rows and the limits are those of `benchmarks/floor.py`, on tiny layers: how many operations are dispatched does not
depend on their size.
"""

from __future__ import annotations

import pytest
import torch

from benchmarks.counting import Counts
from benchmarks.floor import ERROR, counts_of, floor, misses
from benchmarks.floor_rows import rows

ROWS = {row.name: row for row in rows()}


@pytest.fixture
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("name", ROWS)
def test_ours_is_at_the_floor(name):
    counts, error = counts_of(ROWS[name].prepare("small"))
    found = misses(ROWS[name], counts, error)
    assert found == []


def test_every_limit_can_be_missed():
    row, hand = ROWS["deep cg hypergradient"], Counts(1000, 2000, 100, 0, 5)
    counts = {"ours": Counts(1051, 3000, 101, row.syncs + 1, 5), "each": Counts(1200, 1200, 100, 0, 5), "flat": hand}
    assert floor(counts) == hand
    words = ("101 products, by hand 100", "1051 operations, at most 1050", "looks at a value", "differs")
    found = misses(row, counts, 2 * ERROR)
    assert len(found) == len(words)
    assert all(part in line for part, line in zip(words, found, strict=True))


def test_many_small_tensors_are_held_to_less_than_one_operation_each():
    row = ROWS["wide difference hypergradient"]
    counts = {"ours": Counts(851, 0, 1, 0, 1), "each": Counts(1000, 0, 1, 0, 1), "flat": Counts(100, 0, 1, 0, 1)}
    assert misses(row, counts, 0.0) == [f"{row.name}: 851 operations, at most 850 (by hand 100)"]
