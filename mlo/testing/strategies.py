"""Hypothesis strategies that draw random problem graphs.

Five lines property-test a rule:

    @given(quadratic_graphs(levels=(2, 4), rules=[mlo.Unroll(), mlo.Implicit(mlo.Dense())]))
    def test(drawn):
        found = mlo.hypergradient(drawn.graph, of=drawn.of)
        torch.testing.assert_close(found, drawn.hypergradient, rtol=1e-8, atol=1e-10)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torchopt
from hypothesis import strategies as st
from torch import Tensor

from mlo.graph import ProblemGraph
from mlo.hypergradient import AbstractResponse, Unroll
from mlo.pieces import Loss
from mlo.problem import Problem
from mlo.testing.quadratic import QuadraticGraph, quadratic_graph
from mlo.view import View


@st.composite
def _reads(draw: st.DrawFn, levels: tuple[int, int]) -> list[list[int]]:
    """Draw who reads whom among `levels` problems, so that the outermost one has a hypergradient."""
    n = draw(st.integers(*levels))
    chosen = [sorted(draw(st.sets(st.sampled_from([q for q in range(n) if q != p]), max_size=3))) for p in range(n)]
    deeper = draw(st.integers(1, n - 1))
    chosen[0] = sorted({*chosen[0], deeper})
    chosen[deeper] = sorted({*chosen[deeper], 0})
    return chosen


@st.composite
def quadratic_graphs(
    draw: st.DrawFn,
    *,
    levels: tuple[int, int] = (2, 3),
    rules: Sequence[AbstractResponse] = (Unroll(),),
    largest: int = 3,
) -> QuadraticGraph:
    """Draw a random quadratic graph with its closed form: cascades, nested problems, diamonds, siblings, skips.

    Args:
        draw: Given by hypothesis.
        levels: Fewest and most problems.
        rules: Responses to choose from, for each problem on its own.
        largest: Most entries of one variable.

    Examples:
        >>> import mlo.testing, torch
        >>> from hypothesis import given, settings
        >>> @settings(max_examples=3, deadline=None)
        ... @given(mlo.testing.strategies.quadratic_graphs(levels=(2, 3)))
        ... def test_any_graph(drawn):
        ...     found = mlo.hypergradient(drawn.graph, of=drawn.of)
        ...     torch.testing.assert_close(found, drawn.hypergradient)
        >>> test_any_graph()
    """
    reads = draw(_reads(levels))
    dims = [draw(st.integers(1, largest)) for _ in reads]
    chosen = [draw(st.sampled_from(list(rules))) for _ in reads[1:]]
    seed, steps = draw(st.integers(0, 2**16)), draw(st.integers(1, 2))
    return quadratic_graph(reads, dims=dims, rules=chosen, seed=seed, steps=steps)


@st.composite
def smooth_graphs(
    draw: st.DrawFn,
    *,
    levels: tuple[int, int] = (2, 3),
    rules: Sequence[AbstractResponse] = (Unroll(),),
    steps: tuple[int, int] = (1, 3),
    largest: int = 3,
) -> ProblemGraph:
    """Draw a random graph of smooth, non-quadratic, strictly convex losses; the outermost problem is "p0".

    Its answers are what a few steps of gradient descent (with momentum, or by Adam) leave: meant for rules that are
    exact for any number of steps, and for `check_hypergradient`.

    Args:
        draw: Given by hypothesis.
        levels: Fewest and most problems.
        rules: Responses to choose from.
        steps: Fewest and most updates in a solve.
        largest: Most entries of one variable.

    Examples:
        >>> import mlo.testing, torch
        >>> from hypothesis import given, settings
        >>> @settings(max_examples=2, deadline=None)
        ... @given(mlo.testing.strategies.smooth_graphs(levels=(2, 2)))
        ... def test_any_graph(graph):
        ...     mlo.testing.check_hypergradient(graph, of=graph.problems[0].name, directions=1)
        >>> test_any_graph()
    """
    reads = draw(_reads(levels))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    dims = [draw(st.integers(1, largest)) for _ in reads]
    problems = []
    for index, others in enumerate(reads):
        update = draw(st.sampled_from([torchopt.sgd(0.1), torchopt.sgd(0.05, momentum=0.9), torchopt.adam(0.05)]))
        start = torch.randn(dims[index], generator=generator, dtype=torch.float64)
        count = draw(st.integers(*steps)) if index else 1
        problems.append(
            Problem(
                f"p{index}",
                _smooth_loss(index, others, dims, generator),
                start,
                reads=[f"p{other}" for other in others],
                update=update,
                steps=count,
                response=draw(st.sampled_from(list(rules))),
            )
        )
    return ProblemGraph(problems)


def _smooth_loss(index: int, others: Sequence[int], dims: Sequence[int], generator: torch.Generator) -> Loss:
    """Return sum log cosh(M x + m) + |x|^2 / 2 over what is seen, with a random M."""
    seen = [index, *others]
    total = sum(dims[p] for p in seen)
    matrix = torch.randn(total + 1, total, generator=generator, dtype=torch.float64) / total**0.5
    shift = torch.randn(total + 1, generator=generator, dtype=torch.float64)

    def loss(view: View, batch: Any) -> Tensor:
        x = torch.cat([view[f"p{p}"] for p in seen])
        return torch.cosh(matrix @ x + shift).log().sum() + 0.5 * (x * x).sum()

    return loss
