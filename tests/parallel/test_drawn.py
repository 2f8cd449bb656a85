"""Random graphs of which no rank has more than a part, against the closed form of the whole."""

import mlo
from tests.parallel.drawn import all_worst
from tests.parallel.ranks import launch

UNROLL, DENSE, CG = mlo.Unroll(), mlo.Implicit(mlo.Dense()), mlo.Implicit(mlo.CG(tol=1e-12))
DIFFERENCES = [mlo.Unroll(product=mlo.FiniteDifference()), mlo.Implicit(mlo.Dense(), product=mlo.FiniteDifference())]
# Rules, levels, and what is allowed: as in test_quadratic_graphs.py.
TABLE = {
    "exact": (([UNROLL, DENSE, CG], (2, 3)), 1e-8),
    "deep": (([UNROLL, DENSE], (4, 4)), 1e-8),
    "differences": ((DIFFERENCES, (2, 3)), 1e-5),
}


def test_closed_forms():
    for found in launch(all_worst, 2, {name: arguments for name, (arguments, _) in TABLE.items()}):
        for name, (gap, count) in found.items():
            assert count >= 15
            assert gap <= TABLE[name][1], name
