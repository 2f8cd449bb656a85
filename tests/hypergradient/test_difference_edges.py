"""Finite differences where exact products have it easy: random losses, proximal terms, differences of differences.

Losses are quadratic in everything, so that central differences leave rounding alone: eps^(2/3) = 4e-11, times 1e2.
"""

import pytest
import torch
import torchopt

import mlo
from mlo.gradient import prepared
from mlo.rng import preserved
from mlo.solve import ProblemNode
from tests.hypergradient.test_penalty import nested

F64 = torch.float64
X = torch.tensor([3.0, 1.0, -2.0, 0.5, 1.5, -1.0, 2.0, 0.7], dtype=F64)
EXACT = mlo.Implicit(mlo.Dense())
DIFFERENCE = mlo.Implicit(mlo.Dense(), product=mlo.FiniteDifference())


def test_implicit_differences_see_the_dropout_mask_that_exact_products_see():
    def drop(value):
        return torch.nn.functional.dropout(value, 0.5)

    def found(rule):
        low = mlo.Problem("w", lambda v, _: (v.w**2).sum() / 2 - (v.w * drop(v.x)).sum(), X, reads=["x"],
                          update=torchopt.sgd(0.3), response=rule)  # fmt: skip
        top = mlo.Problem("x", lambda v, _: ((drop(v.w) - 1) ** 2).sum(), X, reads=["w"])  # draws in between
        with preserved():
            torch.manual_seed(0)
            return mlo.hypergradient(mlo.ProblemGraph([top, low]), of="x")

    expected = found(EXACT)
    assert 0 < int((expected != 0).sum()) < 8
    torch.testing.assert_close(found(DIFFERENCE), expected, rtol=1e-8, atol=1e-8)


def test_implicit_differences_see_the_proximal_term():
    def learner(name, weight, rule):
        loss = lambda v, _: ((weight * v[name] - v.x) ** 2).sum()  # noqa: E731, rests at x / weight
        return mlo.Problem(name, loss, 0 * X, reads=["x"], update=torchopt.sgd(0.1), steps=100, response=rule)

    def found(rule):
        learners = [learner("a", 1.0, rule), learner("b", 2.0, rule)]
        stages = mlo.interleave(learners, rounds=1, proximal=mlo.Proximal(1.0, step_size=0.1), shared="")
        top = mlo.Problem("x", lambda v, _: ((v["b@1"] - v.x / 2) ** 2).sum(), X, reads=["b@1"])
        return mlo.hypergradient(mlo.ProblemGraph([top, *stages]), of="x")

    expected = found(EXACT)
    assert float(expected.norm()) > 0.05
    torch.testing.assert_close(found(DIFFERENCE), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("middle", "low", "counts"), [(DIFFERENCE, DIFFERENCE, (2, 1, 0)),
                                                       (DIFFERENCE, EXACT, (1, 0, 0)),
                                                       (EXACT, DIFFERENCE, (1, 1, 0))])  # fmt: skip
def test_differences_that_are_nested_are_counted(middle, low, counts):
    context = prepared(nested(middle, low), "u", {}, {})
    assert tuple(ProblemNode(context, name).differences for name in ("u", "m", "l")) == counts
