"""Stages that begin where the stage before has ended, against plain autograd through the whole chain.

Each learner minimizes a smooth, not quadratic loss over an encoder, which is handed over and held, and a head of its
own. Tolerance: the same few hundred operations in another order, so 1e-11 relative; differences: 1e-5.
"""

import logging
import re

import pytest
import torch
import torchopt
from hypothesis import given, settings
from hypothesis import strategies as st

import mlo

F64, ETA = torch.float64, 0.1
EXACT, DIFFERENCES = 1e-11, 1e-5
MEMORIES = [mlo.Record(), mlo.Recompute(), mlo.Recompute(every=1), mlo.Forward()]


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def loss(k, w, a, split=0):
    x = randn(4, 3, seed=10 * k + split)
    fit = (torch.tanh(x @ (w["encoder"] * torch.sigmoid(a))) * w["head"] - 0.3 * k - 0.1).square().mean()
    return fit + 0.5 * torch.log1p((w["encoder"] - a).square().sum()) + 0.5 * w["head"].square().sum()


class Chain:
    """K learners and M rounds, their stored weights, and what one outer step makes of them, by plain autograd."""

    def __init__(self, learners, rounds, *, form="implicit", c=0.8, steps=1, momentum=0.0, anchor="none", seed=0):
        self.k, self.m, self.form, self.c, self.steps = learners, rounds, form, c, steps
        self.momentum, self.anchor, self.a = momentum, anchor, randn(3, seed=seed)
        self.names = [f"t{k}@{m}" for m in range(1, rounds + 1) for k in range(learners)]
        self.stored = {
            name: {"encoder": randn(3, seed=seed + 7 * i + 1), "head": randn(4, seed=seed + 7 * i + 2)}
            for i, name in enumerate(self.names)
        }

    def graph(self, response=None, *, start="previous", own=None, **options):
        def learner(k):
            def fit(v, _):
                return loss(k, v[f"t{k}"], v.a)

            begin = dict(sorted(self.stored[self.names[k]].items(), reverse=k % 2 == 1))  # they lie in other places
            update = torchopt.sgd(ETA, momentum=self.momentum)
            return mlo.Problem(f"t{k}", fit, begin, reads=["a"], update=update, steps=self.steps,
                               response=response or mlo.Unroll(), start=own, **options)  # fmt: skip

        proximal = mlo.Proximal(self.c / (2 * ETA), step_size=ETA, form=self.form, anchor=self.anchor)
        learners = [learner(k) for k in range(self.k)]
        stages = mlo.interleave(learners, rounds=self.m, proximal=proximal, shared="encoder", start=start)
        last = self.names[-self.k :]

        def judge(v, _):
            return sum(loss(k, v[name], v.a, 1) for k, name in enumerate(last))

        return mlo.ProblemGraph([mlo.Problem("a", judge, self.a, reads=last, update=torchopt.sgd(0.5)), *stages])

    def solved(self, a, stored, buffers=None):
        """Return the answers of all stages as functions of `a`, and their momenta."""
        answers, momenta = {}, {}
        for i, name in enumerate(self.names):
            w = {key: value.clone().requires_grad_() for key, value in stored[name].items()}
            anchor = answers[self.names[i - 1]]["encoder"] if i else None
            if len(self.names) > 1:
                w["encoder"] = stored[self.names[-1]]["encoder"].clone().requires_grad_() if i == 0 else anchor
            if i == 0 and self.anchor == "cyclic" and len(self.names) > 1:
                anchor = stored[self.names[-1]]["encoder"]
            moved = (buffers or {}).get(name) or {key: torch.zeros_like(value) for key, value in w.items()}
            for _ in range(self.steps):
                found = torch.autograd.grad(loss(i % self.k, w, a), list(w.values()), create_graph=True)
                moved = {key: self.momentum * moved[key] + g for key, g in zip(w, found, strict=True)}
                half = {key: w[key] - ETA * moved[key] for key in w}
                if anchor is not None and self.form == "implicit":
                    half["encoder"] = (half["encoder"] + self.c * anchor) / (1 + self.c)
                elif anchor is not None:
                    half["encoder"] = half["encoder"] - self.c * (w["encoder"] - anchor)
                w = half
            answers[name], momenta[name] = w, moved
        return answers, momenta

    def truth(self, a=None, stored=None, buffers=None):
        a = (self.a if a is None else a).clone().requires_grad_()
        answers, momenta = self.solved(a, stored or self.stored, buffers)
        total = sum(loss(k, answers[name], a, 1) for k, name in enumerate(self.names[-self.k :]))
        plain = [{n: {k: v.detach() for k, v in w.items()} for n, w in found.items()} for found in (answers, momenta)]
        return torch.autograd.grad(total, a)[0], *plain


def relative(found, truth):
    return float((found - truth).norm() / truth.norm())


def chains(most=3):
    return st.builds(
        Chain,
        st.integers(1, most),
        st.integers(1, most),
        form=st.sampled_from(["implicit", "explicit"]),
        c=st.floats(0.0, 1.9),
        steps=st.integers(1, 3),
        momentum=st.sampled_from([0.0, 0.9]),
        anchor=st.sampled_from(["none", "cyclic"]),
        seed=st.integers(0, 1000),
    )


@settings(max_examples=30)
@given(chains(), st.booleans())
def test_the_hypergradient_goes_through_the_starts(chain, exact):
    product = mlo.Exact() if exact else mlo.FiniteDifference()
    found = mlo.hypergradient(chain.graph(mlo.Unroll(product=product)), of="a", values=chain.stored)
    assert relative(found, chain.truth()[0]) <= (EXACT if exact else DIFFERENCES)


@pytest.mark.parametrize(("k", "m"), [(k, m) for k in (1, 2, 3) for m in (1, 2, 3)])
@pytest.mark.parametrize("form", ["implicit", "explicit"])
def test_every_size_of_chain(k, m, form):
    chain = Chain(k, m, form=form, steps=2)
    assert relative(mlo.hypergradient(chain.graph(), of="a", values=chain.stored), chain.truth()[0]) <= EXACT


def test_dropping_the_starts_would_be_wrong():
    # What the oracle could not tell from the persistent reading would test nothing.
    chain = Chain(2, 2, steps=2)
    kept = mlo.hypergradient(chain.graph(start="persistent"), of="a", values=chain.stored)
    assert relative(kept, chain.truth()[0]) > 1e-2


@pytest.mark.parametrize("memory", MEMORIES, ids=str)
@pytest.mark.parametrize("steps", [1, 3])
def test_every_memory_carries_the_starts(memory, steps):
    chain = Chain(2, 2, steps=steps, momentum=0.9)
    found = mlo.hypergradient(chain.graph(mlo.Unroll(memory=memory)), of="a", values=chain.stored)
    assert relative(found, chain.truth()[0]) <= EXACT


@pytest.mark.parametrize("anchor", ["none", "cyclic"])
@pytest.mark.parametrize("steps", [1, 2])
def test_an_engine_makes_the_same_steps(anchor, steps):
    chain = Chain(2, 2, steps=steps, momentum=0.9, anchor=anchor)
    # Both learners are declared once, so stages of a learner start alike.
    stored = {name: chain.stored[chain.names[i % 2]] for i, name in enumerate(chain.names)}
    engine, a, buffers = mlo.Engine(chain.graph()), chain.a, None
    for _ in range(4):
        engine.step()
        gradient, stored, buffers = chain.truth(a, stored, buffers)
        a = a - 0.5 * gradient
        assert relative(engine.values["a"], a) <= EXACT
        for name in chain.names:
            for key, value in stored[name].items():
                assert relative(engine.values[name][key], value) <= EXACT


@settings(max_examples=6)
@given(chains(most=2))
def test_the_check_of_the_library_agrees(chain):
    mlo.testing.check_hypergradient(chain.graph(), of="a", directions=1)


def test_first_order_holds_the_answers():
    chain = Chain(2, 2, steps=2)
    answers, _ = chain.solved(chain.a, chain.stored)
    a = chain.a.clone().requires_grad_()
    fixed = [{key: value.detach() for key, value in answers[name].items()} for name in chain.names[-2:]]
    truth = torch.autograd.grad(sum(loss(k, w, a, 1) for k, w in enumerate(fixed)), a)[0]
    found = mlo.hypergradient(chain.graph(mlo.FirstOrder()), of="a", values=chain.stored)
    assert relative(found, truth) <= EXACT


def test_truncation_makes_a_constant_of_the_start():
    chain = Chain(2, 1, steps=3)
    whole, same, less = (
        mlo.hypergradient(chain.graph(mlo.Unroll(truncate=count)), of="a", values=chain.stored)
        for count in (None, 3, 2)
    )
    assert torch.equal(whole, same)
    assert relative(less, whole) > 1e-3


def moved(form, c, *, steps=1, eta=ETA, start="previous"):
    chain = Chain(2, 2, form=form, c=c, steps=steps)
    engine = mlo.Engine(chain.graph(start=start))
    reports = list(engine.run(3))
    return engine.values, [report.norms for report in reports]


@settings(max_examples=5)
@given(st.floats(0.0, 1.99), st.floats(0.0, 1.99))
def test_with_one_explicit_step_lambda_has_no_effect(one, other):
    (values, norms), (again, same) = moved("explicit", one), moved("explicit", other)
    assert norms == same
    for name, value in values.items():
        pairs = [(value, again[name])] if name == "a" else zip(value.values(), again[name].values(), strict=True)
        assert all(torch.equal(left, right) for left, right in pairs)


def test_with_one_implicit_step_lambda_divides_it():
    # (W - eta g + c W) / (1 + c) = W - eta / (1 + c) g: the encoder moves as with a smaller step size, no more.
    chain = Chain(2, 1, c=3.0)
    answers, _ = chain.solved(chain.a, chain.stored)
    first, second = (answers[name]["encoder"] for name in chain.names)
    point = {"encoder": first, "head": chain.stored["t1@1"]["head"]}
    by_hand = first - ETA / 4.0 * torch.autograd.grad(loss(1, point, chain.a), first)[0]
    torch.testing.assert_close(second, by_hand, rtol=1e-13, atol=1e-15)


def test_with_more_steps_lambda_has_one():
    assert moved("explicit", 0.1, steps=2)[1] != moved("explicit", 1.0, steps=2)[1]


@pytest.mark.parametrize(
    ("form", "steps", "start", "told"),
    [
        ("explicit", 1, "previous", "lambda has no effect"),
        ("implicit", 1, "previous", r"lambda only divides it by 1 \+ c"),
        ("implicit", 2, "previous", None),
        ("implicit", 1, "persistent", None),
    ],
)
def test_a_term_that_does_nothing_is_warned_of(caplog, form, steps, start, told):
    with caplog.at_level(logging.WARNING, logger="mlo"):
        Chain(2, 2, form=form, steps=steps).graph(start=start)
        Chain(2, 2, form=form, steps=steps, c=0.0).graph(start=start)  # no term at all: nothing to tell
        Chain(1, 1, form=form, steps=steps).graph(start=start)
    assert len(caplog.messages) == (told is not None)
    if told:
        assert re.search(rf"the stages of 't0', 't1' begin where they are held, .*: {told}", caplog.messages[0])


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize(("k", "m"), [(1, 1), (2, 2), (3, 2)])
def test_it_costs_no_gradient_more(k, m, steps):
    stages = k * m * steps
    chain = Chain(k, m, steps=steps)
    counts = [
        (mlo.FirstOrder(), stages + 1, 0),
        (mlo.Unroll(), stages + 1, stages),
        (mlo.Unroll(product=mlo.FiniteDifference()), 3 * stages + 1, 0),
    ]
    for response, gradients, products in counts:
        report = mlo.Engine(chain.graph(response)).step()
        assert (report.gradients, report.products) == (gradients, products)


def test_one_stage_alone_has_nobody_before_it():
    chain = Chain(1, 1, steps=2)
    runs = [mlo.Engine(chain.graph(start=start)) for start in ("previous", "persistent")]
    assert [report.norms for report in runs[0].run(3)] == [report.norms for report in runs[1].run(3)]


def test_fresh_stages_begin_where_they_were_declared():
    chain = Chain(2, 2, steps=2, momentum=0.9)
    engine = mlo.Engine(chain.graph(start="fresh"))
    a = chain.a
    for _ in range(3):
        engine.step()
        a = a - 0.5 * mlo.hypergradient(chain.graph(start="persistent"), of="a", values={"a": a})
        assert torch.equal(engine.values["a"], a)
    assert torch.equal(engine.values["t1@1"]["encoder"], chain.stored["t1@1"]["encoder"])


def test_what_cannot_be_handed_over_is_refused():
    chain = Chain(2, 2)
    with pytest.raises(mlo.ConfigError, match="start must be 'persistent', 'previous' or 'fresh', got 'last'"):
        chain.graph(start="last")
    with pytest.raises(mlo.ConfigError, match="start='fresh' leaves nothing of the step before for anchor='cyclic'"):
        Chain(2, 2, anchor="cyclic").graph(start="fresh")
    with pytest.raises(mlo.GraphError, match="learner 't0' has a start of its own, and start='previous': leave it out"):
        chain.graph(own=mlo.HandOver("a"))
    with pytest.raises(mlo.GraphError, match="'t1@2' has warm_start=False, but the start of another"):
        mlo.Engine(chain.graph(warm_start=False))
    loop = mlo.Engine(chain.graph(mlo.SingleLoop(0.1)))
    with pytest.raises(mlo.GraphError, match=r"'t0@1' cannot respond by SingleLoop: .* 't1@2' hands it another start"):
        loop.step()
