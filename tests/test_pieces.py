"""Losses in parts: chunks of a batch, and sums. Each equals the whole, in the memory of a part."""

from __future__ import annotations

import pytest
import torch
import torchopt
from torch import nn

import mlo
from mlo.meter import LiveBytes

GENERATOR = torch.Generator().manual_seed(0)
# Means of parts are added in another order: some roundings of float64, which a difference enlarges some 1e5-fold.
EXACT, DIFFERENCE = 1e-12, 1e-9


def data(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(count, width, generator=generator, dtype=torch.float64) for width in (3, 1))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()


FORMS = {
    "tuple": lambda x, y: (x, y),
    "dict": lambda x, y: {"x": x, "y": y, "name": "a", "scale": torch.tensor(1.0), "none": None},
    "nested": lambda x, y: [{"x": (x,)}, [y, 3]],
}
PARTS = {
    "tuple": lambda b: b,
    "dict": lambda b: (b["x"], b["y"]),
    "nested": lambda b: (b[0]["x"][0], b[1][0]),
}


def graph(rule, accumulate, *, count=7, form="tuple", steps=2):
    parts = PARTS[form]

    def fit(v, batch):
        x, y = parts(batch)
        return ((v.w(x) - y) ** 2 * v.z.exp().sum()).mean() + 0.1 * sum((p**2).sum() for p in v.w.params.values())

    def validate(v, batch):
        x, y = parts(batch)
        return ((v.w(x) - y) ** 2).mean() + (v.z**2).sum()

    update = torchopt.sgd(0.05)
    z = torch.zeros(3, dtype=torch.float64)
    train, valid = ([FORMS[form](*data(count, seed))] for seed in (1, 2))
    top = mlo.Problem("z", validate, z, reads=["w"], update=update, batches=valid, accumulate=accumulate)
    lower = mlo.Problem(
        "w",
        fit,
        network(),
        reads=["z"],
        update=update,
        steps=steps,
        response=rule,
        batches=train,
        accumulate=accumulate,
    )
    return mlo.ProblemGraph([top, lower])


RULES = {
    "first order": (mlo.FirstOrder(), EXACT),
    "exact": (mlo.Unroll(), EXACT),
    "recompute": (mlo.Unroll(memory=mlo.Recompute()), EXACT),
    "difference": (mlo.Unroll(product=mlo.FiniteDifference()), DIFFERENCE),
    "dense": (mlo.Implicit(mlo.Dense()), EXACT),
    "cg": (mlo.Implicit(mlo.CG(max_steps=60, tol=1e-10)), 1e-9),  # both stop at the tolerance, at other places
}


@pytest.mark.filterwarnings("ignore::mlo.UnconvergedWarning")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("chunks", [2, 3, 7, 50])  # of seven examples: even ones, uneven ones, and more than there are
def test_a_batch_in_chunks_is_the_whole_batch(rule, chunks):
    one, error = RULES[rule]
    whole, parts = (mlo.hypergradient(graph(one, k), of="z") for k in (1, chunks))
    torch.testing.assert_close(parts, whole, rtol=error, atol=error)


@pytest.mark.parametrize("form", FORMS)
def test_batches_of_any_structure_are_cut(form):
    whole, parts = (mlo.hypergradient(graph(mlo.Unroll(), k, form=form), of="z") for k in (1, 3))
    torch.testing.assert_close(parts, whole, rtol=EXACT, atol=EXACT)


def test_an_engine_trains_as_with_whole_batches():
    ends = []
    for chunks in (1, 4):
        engine = mlo.Engine(graph(mlo.Unroll(), chunks), look_ahead=True)
        last = list(engine.run(4))[-1]
        ends.append((engine.values, last.losses, last.norms))
    torch.testing.assert_close(ends[1], ends[0], rtol=EXACT, atol=EXACT)


def test_nested_exact_products_go_through_chunks():
    def build(chunks):
        update, x = torchopt.sgd(0.1), data(5)[0]
        start = torch.linspace(0.1, 0.3, 3, dtype=torch.float64)
        mid = lambda v, b: torch.cosh(b @ (v.m - v.a)).mean() + (v.n * v.m).sum()  # noqa: E731
        low = lambda v, b: torch.cosh(b @ (v.n * v.m.exp())).mean() + (v.n * v.a).sin().sum()  # noqa: E731
        more = {"update": update, "batches": [x], "accumulate": chunks}
        problems = [
            mlo.Problem("a", lambda v, b: torch.cosh(b @ (v.m + v.n)).mean(), start, reads=["m", "n"], **more),
            mlo.Problem("m", mid, start, reads=["a", "n"], steps=2, **more),
            mlo.Problem("n", low, start, reads=["a", "m"], steps=2, **more),
        ]
        return mlo.hypergradient(mlo.ProblemGraph(problems), of="a")

    torch.testing.assert_close(build(3), build(1), rtol=EXACT, atol=EXACT)


def test_batch_norm_normalizes_each_chunk_by_itself():
    """What is said of it: the chunked gradient is the mean of those of the chunks, not that of the whole batch."""
    x, _ = data(8)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh()).double()
    loss = lambda v, b: (v.w(b) ** 3).mean()  # noqa: E731

    def gradient(chunks, batch):
        one = mlo.Problem("w", loss, net, accumulate=chunks)
        return mlo.hypergradient(mlo.ProblemGraph([one]), of="w", batches={"w": batch})["0.weight"]

    mean = (gradient(1, x[:4]) + gradient(1, x[4:])) / 2
    torch.testing.assert_close(gradient(2, x), mean, rtol=EXACT, atol=EXACT)
    assert float((gradient(1, x) - mean).norm()) > 0.1 * float(mean.norm())


def test_batches_that_cannot_be_cut_are_refused():
    x, _ = data(4)
    one = mlo.Problem("w", lambda v, b: v.w.sum(), torch.ones(2), accumulate=2)
    for batch, words in (((x, x[:3]), r"lengths \[3, 4\]"), (torch.tensor(1.0), "there are none"), (None, "none")):
        with pytest.raises(mlo.DataError, match=words):
            mlo.hypergradient(mlo.ProblemGraph([one]), of="w", batches={"w": batch})
    with pytest.raises(mlo.GraphError, match="accumulate must be a whole number >= 1"):
        mlo.Problem("w", lambda v, b: v.w.sum(), torch.ones(2), accumulate=0)


def test_a_chunk_takes_the_memory_of_a_chunk():
    """Of 64 rows in 8 chunks: an eighth of the activations, and what does not depend on rows; seen: 0.16."""
    net = nn.Sequential(*[layer for _ in range(6) for layer in (nn.Linear(32, 32), nn.Tanh())])

    def peak(chunks):
        loss = lambda v, b: v.w(b).square().mean()  # noqa: E731
        one = mlo.Problem("w", loss, net, batches=[torch.randn(2048, 32)], accumulate=chunks)
        graph = mlo.ProblemGraph([one])
        mlo.hypergradient(graph, of="w")
        with LiveBytes() as meter:
            mlo.hypergradient(graph, of="w")
        return meter.peak

    assert peak(8) < 0.2 * peak(1)


# ---------------------------------------------------------------- sums


def terms(count):
    def term(index):
        return lambda v, b: (
            (index + 1.0) * ((v.w(b[0]) - b[1]) ** 2).mean() + (v.z.exp() * v.w.params["0.bias"][:3]).sum()
        )

    return [term(index) for index in range(count)]


def summed(loss, rule, accumulate=1):
    z, update = torch.zeros(3, dtype=torch.float64), torchopt.sgd(0.05)
    valid, train = (tuple(data(5 + seed, seed + start) for seed in range(3)) for start in (1, 11))
    more = {"update": update, "accumulate": accumulate}
    top = mlo.Problem("z", loss, z, reads=["w"], batches=[valid], **more)
    lower = mlo.Problem("w", loss, network(), reads=["z"], batches=[train], steps=2, response=rule, **more)
    return mlo.ProblemGraph([top, lower])


@pytest.mark.parametrize("rule", ["exact", "difference", "dense"])
@pytest.mark.filterwarnings("ignore::mlo.UnconvergedWarning")
def test_a_sum_is_the_sum(rule):
    one, error = RULES[rule]
    together = mlo.Sum(terms(3))
    whole = mlo.hypergradient(summed(lambda v, b: together(v, b), one), of="z")
    torch.testing.assert_close(mlo.hypergradient(summed(together, one), of="z"), whole, rtol=error, atol=error)
    parts = mlo.hypergradient(summed(together, one, accumulate=3), of="z")
    torch.testing.assert_close(parts, whole, rtol=error, atol=error)


def test_a_sum_takes_the_memory_of_one_term():
    """Four terms on their own batches: a quarter of the activations; seen: 0.3."""
    net = nn.Sequential(*[layer for _ in range(6) for layer in (nn.Linear(32, 32), nn.Tanh())])
    batch = tuple(torch.randn(1024, 32) for _ in range(4))
    together = mlo.Sum([lambda v, b: v.w(b).square().mean()] * 4)

    def peak(loss):
        graph = mlo.ProblemGraph([mlo.Problem("w", loss, net, batches=[batch])])
        mlo.hypergradient(graph, of="w")
        with LiveBytes() as meter:
            mlo.hypergradient(graph, of="w")
        return meter.peak

    assert peak(together) < 0.4 * peak(lambda v, b: together(v, b))


def test_what_is_no_sum_is_refused():
    for wrong in ([], [3]):
        with pytest.raises(mlo.GraphError, match="Sum: needs one function"):
            mlo.Sum(wrong)
    x = data(3)
    graph = mlo.ProblemGraph([mlo.Problem("w", mlo.Sum(terms(2)), network())])
    with pytest.raises(mlo.DataError, match="a Sum of 2 losses needs as many batches, got 3"):
        mlo.hypergradient(graph, of="w", batches={"w": (x, x, x)})
