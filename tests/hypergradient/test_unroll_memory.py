"""What `Unroll` keeps of its steps does not change what it computes.

Tolerance: `Recompute` makes the same operations in the same order: equal bits. `Forward` sums the same products in
another order, over at most ten steps of well-conditioned losses: 1e-10 relative, of which about 1e-15 is used.
"""

import logging
import random

import numpy as np
import pytest
import torch
import torchopt
from hypothesis import given
from hypothesis import strategies as st

import mlo
from mlo.gradient import make_context
from mlo.hypergradient.run import run
from mlo.solve import ProblemNode, solve
from tests.hypergradient.test_unroll import F64, OPTIMIZERS, by_hand, graph, net_graph, randn, relative

MEMORIES = [mlo.Recompute(), mlo.Recompute(every=2), mlo.Forward()]
UPDATES = [torchopt.sgd(0.1), torchopt.sgd(0.1, momentum=0.9), torchopt.adam(0.1)]
PRODUCTS = [mlo.Exact(), mlo.FiniteDifference()]
LENGTHS = st.integers(1, 10)


# Against a loop by hand ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name, memory):
    make, step = OPTIMIZERS[name]
    drawn = graph(make(), memory=memory)
    first, again = (mlo.hypergradient(drawn, of="z") for _ in range(2))
    assert relative(first, by_hand(step)) <= 1e-10
    assert torch.equal(first, again)


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_law_of_the_pullback(memory):
    # <pullback(c), d> = <c, (x*(z + h d) - x*(z - h d)) / 2h> up to h^2 and eps / h with h = 1e-5: 1e-9.
    drawn, z, d, h = graph(UPDATES[1], memory=memory), randn(3, seed=0), randn(3, seed=5), 1e-5
    c = {"a": randn(3, seed=6), "b": torch.tensor(-1.3, dtype=F64)}

    def answer(at):
        return solve(make_context(drawn, {"z": at}, {}), "w")

    node, trace = answer(z)
    pulled = node.problem.response.pullback(node, trace, c, ["z"], differentiable=False).parts["z"]["value"]
    up, down = answer(z + h * d)[1].answer, answer(z - h * d)[1].answer
    moved = sum((c[key] * (up[key] - down[key])).sum() for key in c) / (2 * h)
    assert float((pulled * d).sum()) == pytest.approx(float(moved), rel=1e-8)


# Against Record ------------------------------------------------------------------------------------------------------


@given(
    steps=LENGTHS,
    every=st.none() | st.integers(1, 12),
    truncate=st.none() | LENGTHS,
    update=st.sampled_from(UPDATES),
    product=st.sampled_from(PRODUCTS),
)
def test_recompute_is_record_bit_for_bit(steps, every, truncate, update, product):
    kept = {"product": product, "truncate": truncate}
    found = mlo.hypergradient(graph(update, steps, memory=mlo.Recompute(every), **kept), of="z")
    assert torch.equal(found, mlo.hypergradient(graph(update, steps, **kept), of="z"))


@given(steps=LENGTHS, truncate=st.none() | LENGTHS, update=st.sampled_from(UPDATES))
def test_forward_equals_record(steps, truncate, update):
    found = mlo.hypergradient(graph(update, steps, truncate=truncate, memory=mlo.Forward()), of="z")
    assert relative(found, mlo.hypergradient(graph(update, steps, truncate=truncate), of="z")) <= 1e-10


def after_a_step(memory, product):
    """All that one step of an engine leaves, and the generators."""
    torch.manual_seed(7)
    engine = mlo.Engine(net_graph(product, memory=memory)[0])
    report = engine.step()
    return engine, report, torch.get_rng_state()


@pytest.mark.parametrize(("memory", "product"), [*((m, PRODUCTS[0]) for m in MEMORIES), (MEMORIES[1], PRODUCTS[1])])
def test_dropout_and_batch_statistics(memory, product):
    ours, report, state = after_a_step(memory, product)
    kept, truth, expected_state = after_a_step(mlo.Record(), product)
    assert torch.equal(state, expected_state)
    assert report.losses == truth.losses
    network, expected = ours.export("w").state_dict(), kept.export("w").state_dict()
    assert all(torch.equal(network[key], expected[key]) for key in expected)
    assert int(network["norm.num_batches_tracked"]) == 3
    same = torch.equal if isinstance(memory, mlo.Recompute) else lambda a, b: relative(a, b) <= 1e-10
    assert same(ours.values["z"], kept.values["z"])


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_nothing_is_changed(memory):
    drawn, net = net_graph(memory=memory)
    before, state = {key: value.clone() for key, value in net.state_dict().items()}, torch.get_rng_state()
    first = mlo.hypergradient(drawn, of="z")
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first, mlo.hypergradient(drawn, of="z"))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_every_global_generator_is_put_back(memory):
    def noisy(v, _):
        noise = torch.randn(3, dtype=F64) + random.random() + float(np.random.rand())
        return ((v.w - v.z * noise) ** 2).sum()

    def trained(kept):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        top = mlo.Problem("z", lambda v, _: (v.w**3).sum(), randn(3, seed=0), reads=["w"], update=torchopt.sgd(0.1))
        rule = mlo.Unroll(memory=kept)
        low = mlo.Problem("w", noisy, randn(3, seed=1), reads=["z"], update=torchopt.sgd(0.1), steps=7, response=rule)
        engine = mlo.Engine(mlo.ProblemGraph([top, low]))
        list(engine.run(2))
        return engine.values["z"], random.random(), float(np.random.rand()), float(torch.rand(()))

    (z, *drawn), (truth, *expected) = trained(memory), trained(mlo.Record())
    assert drawn == expected
    assert relative(z, truth) <= 1e-10


def test_an_operation_whose_derivative_has_two_formulas():
    # SiLU's is another one where a graph is recorded: a step without a graph ends in other bits.
    def fit(v, _):
        return torch.nn.functional.silu(v.w * 3 - v.z).sum() + (v.w**2).sum()

    def build(kept):
        top = mlo.Problem("z", lambda v, _: (v.w**3).sum(), randn(40, seed=0), reads=["w"], update=UPDATES[0])
        rule = mlo.Unroll(memory=kept)
        low = mlo.Problem("w", fit, randn(40, seed=1), reads=["z"], update=UPDATES[0], steps=9, response=rule)
        return mlo.ProblemGraph([top, low])

    assert torch.equal(*(mlo.hypergradient(build(kept), of="z") for kept in (mlo.Recompute(), mlo.Record())))
    _, trace = solve(make_context(build(mlo.Record()), {}, {}), "w")
    without = run(ProblemNode(make_context(build(mlo.Record()), {}, {}), "w"))
    assert not torch.equal(trace.answer["value"], without.answer["value"])  # or there is nothing to see here


def test_what_is_made_again_is_counted():
    # One gradient of the loss above; each of five steps twice, and the first a third time, to see whether it is the
    # same without a graph.
    engine = mlo.Engine(graph(UPDATES[0], memory=mlo.Recompute()))
    assert engine.step().gradients == 1 + 2 * 5 + 1
    assert mlo.Engine(graph(UPDATES[0])).step().gradients == 1 + 5


def test_no_step_is_no_response():
    for memory in MEMORIES:
        low = graph(UPDATES[0], steps=0, memory=memory)["w"]
        top = mlo.Problem("z", lambda v, _: v.w["b"] ** 2, randn(3, seed=0), reads=["w"], update=UPDATES[0])
        with pytest.raises(mlo.LossError, match="does not depend"):
            mlo.hypergradient(mlo.ProblemGraph([top, low]), of="z")


# What is refused, and said -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_a_loss_that_changes_is_refused(memory):
    own = torch.Generator().manual_seed(0)

    def noisy(v, _):
        return ((v.w - v.z * torch.randn(3, generator=own, dtype=F64)) ** 2).sum()

    top = mlo.Problem("z", lambda v, _: (v.w**2).sum(), randn(3, seed=0), reads=["w"], update=UPDATES[0])
    rule = mlo.Unroll(memory=memory)
    low = mlo.Problem("w", noisy, randn(3, seed=1), reads=["z"], update=UPDATES[0], steps=3, response=rule)
    with pytest.raises(mlo.LossError, match=r"problem 'w'.*made again.*mlo\.Record"):
        mlo.hypergradient(mlo.ProblemGraph([top, low]), of="z")


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
def test_a_loss_that_is_not_finite_is_named_as_ever(memory):
    top = mlo.Problem("z", lambda v, _: (v.w**2).sum(), randn(3, seed=0), reads=["w"], update=UPDATES[0])
    rule = mlo.Unroll(memory=memory)
    low = mlo.Problem(
        "w", lambda v, _: (v.w - v.z).square().sum().exp(), 9 + randn(3, seed=1), reads=["z"], update=UPDATES[0],
        steps=3, response=rule,
    )  # fmt: skip
    with pytest.raises(mlo.DivergenceError, match="'w'"):
        mlo.hypergradient(mlo.ProblemGraph([top, low]), of="z")


def test_many_tangents_are_told_once(caplog):
    def build():
        top = mlo.Problem("z", lambda v, _: (v.many**2).sum(), randn(101, seed=0), reads=["many"], update=UPDATES[0])
        low = mlo.Problem(
            "many", lambda v, _: ((v.many - v.z) ** 2).sum(), randn(101, seed=1), reads=["z"], update=UPDATES[0],
            response=mlo.Unroll(memory=mlo.Forward()),
        )  # fmt: skip
        return mlo.hypergradient(mlo.ProblemGraph([top, low]), of="z")

    with caplog.at_level(logging.WARNING, logger="mlo"):
        build(), build()
    assert [record.getMessage() for record in caplog.records] == [
        "problem 'many': Forward carries 101 tangents through every step: mlo.Recompute() is faster"
    ]


@pytest.mark.parametrize("every", [0, -1, 2.0, True, "2"])
def test_every_is_a_number_of_steps(every):
    with pytest.raises(mlo.ConfigError, match="every"):
        mlo.Recompute(every)


def test_forward_needs_exact_products():
    with pytest.raises(mlo.ConfigError, match=r"Forward.*exact.*Recompute"):
        mlo.Unroll(product=mlo.FiniteDifference(), memory=mlo.Forward())


@pytest.mark.parametrize("memory", [None, mlo.Recompute, "recompute"])
def test_a_memory_is_an_instance(memory):
    with pytest.raises(mlo.ConfigError, match="memory"):
        mlo.Unroll(memory=memory)
