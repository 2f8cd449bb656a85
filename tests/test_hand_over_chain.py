"""Stages that begin where the stage before has ended, against plain autograd through the whole chain.

Each learner minimizes a smooth, not quadratic loss over an encoder, which is handed over and held, and a head of its
own. Tolerance: the same few hundred operations in another order, so 1e-11 relative; differences: 1e-5.
"""


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
    return fit + 0.5 * torch.log1p((w["encoder"] - a).square().sum())


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

    def graph(self, response=None, *, start="previous", **options):
        def learner(k):
            def fit(v, _):
                return loss(k, v[f"t{k}"], v.a)

            own = self.stored[self.names[k]]
            update = torchopt.sgd(ETA, momentum=self.momentum)
            return mlo.Problem(f"t{k}", fit, own, reads=["a"], update=update, steps=self.steps,
                               response=response or mlo.Unroll(), **options)  # fmt: skip

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


@settings(max_examples=40)
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
