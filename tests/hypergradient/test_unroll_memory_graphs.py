"""What `Unroll` keeps of its steps, in nested, cascaded and chained graphs. Tolerances as in test_unroll_memory.py."""

import dataclasses

import pytest
import torch
import torchopt
from hypothesis import given, settings

import mlo
from mlo.testing.strategies import quadratic_graphs, smooth_graphs
from tests.hypergradient.test_unroll import F64, randn, relative
from tests.hypergradient.test_unroll_memory import MEMORIES, PRODUCTS, UPDATES


def with_rules(problems, change):
    """The same graph with other rules."""
    return mlo.ProblemGraph([dataclasses.replace(p, response=change(p.response)) for p in problems])


def all_kept(rule):
    return dataclasses.replace(rule, memory=mlo.Record()) if isinstance(rule, mlo.Unroll) else rule


UNROLLED = [mlo.Unroll(memory=memory) for memory in MEMORIES]
RULES = [*UNROLLED, mlo.Implicit(mlo.Dense()), mlo.Implicit(mlo.CG(tol=1e-12))]


@given(quadratic_graphs(levels=(2, 4), rules=RULES, largest=2))
def test_quadratic_graphs_equal_the_closed_form(drawn):
    # See test_quadratic_graphs.py for the tolerance.
    assert relative(mlo.hypergradient(drawn.graph, of=drawn.of), drawn.hypergradient) <= 1e-8


@settings(max_examples=15)
@given(smooth_graphs(levels=(2, 3), rules=[*UNROLLED, mlo.Unroll(truncate=1), mlo.Unroll()], steps=(1, 4), largest=2))
def test_smooth_graphs_equal_record(drawn):
    found, truth = (mlo.hypergradient(g, of="p0") for g in (drawn, with_rules(drawn.problems, all_kept)))
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-12)


RECOMPUTED = [mlo.Unroll(product=product, memory=mlo.Recompute(2)) for product in PRODUCTS]


@settings(max_examples=10)
@given(smooth_graphs(levels=(2, 3), rules=RECOMPUTED, steps=(1, 4), largest=2))
def test_recompute_is_record_bit_for_bit_in_any_graph(drawn):
    # Differences inside of differences included: the points are the same, so that nothing is amplified.
    found, truth = (mlo.hypergradient(g, of="p0") for g in (drawn, with_rules(drawn.problems, all_kept)))
    assert torch.equal(found, truth)


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_over_an_implicit_answer(memory):
    # The middle problem's steps go through an answer that autograd knows by a function of its own.
    def build(rule):
        top = mlo.Problem("z", lambda v, _: (v.x * v.y).sum(), randn(2, seed=0), reads=["x", "y"], update=UPDATES[0])
        middle = mlo.Problem(
            "x",
            lambda v, _: torch.cosh(v.x - v.y).sum() + (v.x * v.z).sum(),
            randn(2, seed=1),
            reads=["y", "z"],
            update=UPDATES[2],
            steps=4,
            response=rule,
        )
        low = mlo.Problem(
            "y",
            lambda v, _: torch.cosh(v.y).sum() + ((v.y - v.x * v.z) ** 2).sum(),
            randn(2, seed=2),
            reads=["x", "z"],
            update=torchopt.sgd(0.2),
            steps=60,
            response=mlo.Implicit(mlo.CG(tol=1e-13)),
        )
        return mlo.hypergradient(mlo.ProblemGraph([top, middle, low]), of="z")

    assert relative(build(mlo.Unroll(memory=memory)), build(mlo.Unroll())) <= 1e-9


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_any_kind_of_outer_variable(memory):
    # A scalar, a tensor whose entries lie out of order, one of another dtype, one that nothing reads.
    outer_value = {
        "scalar": torch.tensor(0.3, dtype=F64),
        "turned": randn(2, 3, seed=1).T,
        "single": torch.randn(3, 1, generator=torch.Generator().manual_seed(3)),
        "idle": torch.zeros(2, dtype=F64),
    }

    def fit(v, _):
        return (torch.cosh(v.w - v.z["turned"] @ v.w[:2]) * v.z["scalar"].exp()).sum() + (v.w * v.z["single"]).sum()

    def build(kept):
        top = mlo.Problem("z", lambda v, _: (v.w**2).sum(), outer_value, reads=["w"], update=UPDATES[0])
        start = torch.ones(3, 3, dtype=F64).T
        rule = mlo.Unroll(memory=kept)
        low = mlo.Problem("w", fit, start, reads=["z"], update=UPDATES[2], steps=4, response=rule)
        return mlo.hypergradient(mlo.ProblemGraph([top, low]), of="z")

    found, truth = build(memory), build(mlo.Record())
    assert not truth["idle"].any()
    for key, value in truth.items():
        # The float32 entry is a sum of float64 terms rounded in another order: 1e-6.
        tolerance = 1e-6 if value.dtype == torch.float32 else 1e-10
        assert found[key].dtype == value.dtype
        torch.testing.assert_close(found[key], value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_an_update_that_reads(memory):
    learners = [
        mlo.Problem(name, lambda v, _, name=name: torch.cosh(v[name] - v.a).sum(), randn(2, seed=i), reads=["a"],
                    update=torchopt.sgd(0.1, momentum=0.5), steps=3, response=mlo.Unroll(memory=memory))
        for i, name in enumerate(["l", "m"])
    ]  # fmt: skip
    found = []
    for change in (lambda rule: rule, all_kept):
        top = mlo.Problem("a", lambda v, _: (v["m@2"] ** 2).sum(), randn(2, seed=9), reads=["m@2"], update=UPDATES[0])
        near = mlo.Proximal(2.0, step_size=0.1)
        chain = mlo.interleave(learners, rounds=2, proximal=near, shared=lambda _: True)
        found.append(mlo.hypergradient(with_rules([top, *chain], change), of="a"))
    assert relative(*found) <= 1e-10
