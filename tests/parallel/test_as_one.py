"""Ranks with a share of each batch train as one process with all of it does, whatever graph and rule.

Tolerance. Both compute the same sums in another order, so that each gradient differs by a few 1e-16 of its size; five
steps of these small problems amplify that by less than 1e3. A central difference divides the difference by 2 h: with
the h of about 6e-6 that it chooses, 1e-11, and with 0.01 next to nothing. Linear solves stop at 1e-12, near which they
agree to about 1e-12 times the condition of the problem, below 1e2. So 1e-10 is asked for throughout.
"""

import pytest

from tests.parallel import cases
from tests.parallel.ranks import launch
from tests.parallel.trained import assert_as_one, on_ranks

TOLERANCE = 1e-10


@pytest.mark.parametrize(("table", "world"), [("ISSUE", 2), ("ISSUE", 3), ("OTHERS", 2), ("THIN", 3)])
def test_shares_of_batches(table, world):
    assert_as_one(getattr(cases, table), launch(on_ranks, world, table), TOLERANCE)
