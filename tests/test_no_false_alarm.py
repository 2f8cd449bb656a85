"""The checker on random graphs: silent on 200 right ones, and on a wrong one it names the problem that is wrong.

Processor time on one core: 4 s each for the quadratic, the smooth and the settled graphs, 3 s for the differences.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest
import torch
import torchopt
from hypothesis import given, settings
from hypothesis import strategies as st

import mlo
import mlo.testing
from mlo.gradient import make_context
from mlo.testing import strategies
from mlo.testing.resolve import answer
from mlo.vector import scaled

EXACT = [mlo.Unroll(), mlo.Implicit(mlo.CG()), mlo.Implicit(mlo.Dense())]
FD = mlo.FiniteDifference()
DIFFERENCES = [mlo.Unroll(product=FD), mlo.Implicit(mlo.CG(tol=1e-8), product=FD)]
check = mlo.testing.check_hypergradient


@settings(max_examples=75)
@given(strategies.quadratic_graphs(levels=(2, 4), rules=EXACT))
def test_quadratic_graphs(drawn):
    check(drawn.graph, of=drawn.of, directions=2)


@settings(max_examples=5)
@given(strategies.quadratic_graphs(levels=(5, 5), rules=EXACT, largest=1))
def test_five_levels(drawn):
    check(drawn.graph, of=drawn.of, directions=1)


@settings(max_examples=60)
@given(strategies.smooth_graphs(levels=(2, 4), rules=EXACT[:1]))
def test_smooth_graphs(graph):
    check(graph, of="p0", directions=2)
    mlo.testing.check_deterministic(graph, of="p0")


@settings(max_examples=40)
@given(strategies.quadratic_graphs(levels=(2, 3), rules=EXACT + DIFFERENCES))
def test_finite_differences(drawn):
    # Differences inside of differences: the inner rounding, about 1e-11, is divided by the outer epsilon, 6e-6.
    check(drawn.graph, of=drawn.of, directions=2, rtol=1e-3)


def settled(seed, rule, **how):
    """A smooth bilevel problem whose lower Hessian is between 1 and 1 + |A|^2 = 3: 60 steps of 0.5 leave 2^-60."""
    generator = torch.Generator().manual_seed(seed)
    a, b, c = (torch.randn(3, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    a = a * (2**0.5 / torch.linalg.matrix_norm(a, 2))

    def lower(v, batch):
        return torch.cosh(a @ v.w + b @ v.x).log().sum() + 0.5 * (v.w**2).sum()

    def upper(v, batch):
        return torch.cosh(c @ v.w - v.x).log().sum()

    x, w = (torch.randn(3, generator=generator, dtype=torch.float64) for _ in range(2))
    low = {"reads": ["x"], "update": torchopt.sgd(0.5), "steps": 60, "response": rule, **how}
    top = mlo.Problem("x", upper, x, reads=["w"], update=torchopt.sgd(0.1))
    return mlo.ProblemGraph([top, mlo.Problem("w", lower, w, **low)])


@pytest.mark.parametrize("seed", range(20))
def test_smooth_graphs_at_rest(seed):
    rules = [mlo.Implicit(), mlo.Implicit(mlo.Dense()), mlo.Implicit(product=FD), mlo.FixedPoint(), mlo.Unroll()]
    check(settled(seed, rules[seed % len(rules)]), of="x", directions=2)


@pytest.mark.parametrize("rule", [mlo.Implicit(), mlo.FixedPoint()], ids=lambda rule: type(rule).__name__)
def test_a_solve_that_stops_early(rule):
    # From the answer, a shift of x by 6e-6 leaves a gradient below the tolerance: the solve would not follow it.
    graph = settled(0, rule, tolerance=1e-3)
    start = {"w": answer(make_context(graph, {}, {}), "w")["value"]}
    check(graph, of="x", values=start)
    mlo.testing.check_deterministic(graph, of="x", values=start)


@pytest.mark.parametrize("seed", range(5))
def test_graphs_at_their_optimum(seed):
    # Every gradient is 0 but for rounding, so that nothing may be judged relative to it.
    drawn = mlo.testing.quadratic_graph(
        [[1], [2], [0, 1]], dims=[2, 1, 3], rules=[EXACT[seed % 3], EXACT[seed % 2]], seed=seed
    )
    engine = mlo.Engine(drawn.graph)
    list(engine.run(3))  # Newton steps, the first of which gets there
    assert float(mlo.hypergradient(drawn.graph, of="p0", values=engine.values).norm()) < 1e-10
    check(drawn.graph, of="p0", values=engine.values)


@dataclass(frozen=True)
class Halved(mlo.Implicit):
    """Half of every pullback."""

    def pullback(self, node, trace, cotangent, wanted, *, differentiable):
        back = super().pullback(node, trace, cotangent, wanted, differentiable=differentiable)
        return replace(back, parts={name: scaled(0.5, part) for name, part in back.parts.items()})


@settings(max_examples=40)
@given(st.data())
def test_a_wrong_rule_anywhere_is_the_only_one_named(data):
    drawn = data.draw(strategies.quadratic_graphs(levels=(2, 4), rules=EXACT, largest=2))
    culprit = data.draw(st.sampled_from(drawn.graph.names[1:]))
    problems = [replace(p, response=Halved(mlo.Dense())) if p.name == culprit else p for p in drawn.graph.problems]
    graph = mlo.ProblemGraph(problems)
    off = float((mlo.hypergradient(graph, of="p0") - drawn.hypergradient).norm())
    if off <= 1e-4 * float(drawn.hypergradient.norm()):  # it plays no part in this hypergradient
        return
    with pytest.raises(mlo.HypergradientMismatch) as caught:
        check(graph, of="p0", directions=2)
    assert set(re.findall(r"'(p\d)' (?:reads|depends on)", str(caught.value))) == {culprit}, str(caught.value)
