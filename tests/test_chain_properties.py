"""Interleaving chains drawn at random: every rule, K and M from 1 to 3, both proximal forms, against plain algebra.

Each learner minimizes (w - B a).H (w - B a) / 2 + |h - a.sum()|^2 / 2 over an encoder w, which is held, and a head h,
which is free; the upper problem reads the learners of the last round.
"""

import torch
import torchopt
from hypothesis import given, settings
from hypothesis import strategies as st

import mlo

F64 = torch.float64
UNROLLED = [mlo.Unroll(), mlo.Unroll(product=mlo.FiniteDifference())]
IMPLICIT = [
    mlo.Implicit(mlo.CG()),
    mlo.Implicit(mlo.Dense()),
    mlo.Implicit(mlo.Neumann(max_steps=400, step_size=0.3)),
    mlo.Implicit(mlo.CG(), product=mlo.FiniteDifference()),
]


class Chain:
    """Random quadratic learners, and the graph and the references that they make."""

    def __init__(self, learners, rounds, seed):
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return torch.randn(*shape, generator=generator, dtype=F64)

        self.learners, self.rounds = learners, rounds
        self.a, self.goal = draw(2), draw(3)
        self.b = [draw(3, 2) for _ in range(learners)]
        # Eigenvalues between 0.5 and 1.5: plain steps of 0.5 contract by at least 3/4 each.
        bases = [torch.linalg.qr(draw(3, 3)).Q for _ in range(learners)]
        self.h = [q @ torch.diag(0.5 + torch.rand(3, generator=generator, dtype=F64)) @ q.T for q in bases]
        self.start = [{"encoder": draw(3), "head": draw(())} for _ in range(learners)]

    def loss(self, k, w, a):
        gap = w["encoder"] - self.b[k] @ a
        return 0.5 * gap @ self.h[k] @ gap + 0.5 * (w["head"] - a.sum()) ** 2

    def judge(self, answers):
        return sum(((w["encoder"] - self.goal) ** 2).sum() + w["head"] ** 3 for w in answers)

    def graph(self, rule, update, proximal, steps):
        def learner(k):
            def loss(v, batch):
                return self.loss(k, v[f"l{k}"], v.a)

            return mlo.Problem(f"l{k}", loss, self.start[k], reads=["a"], update=update, steps=steps, response=rule)

        stages = mlo.interleave(
            [learner(k) for k in range(self.learners)], rounds=self.rounds, proximal=proximal, shared="encoder"
        )
        last = [f"l{k}@{self.rounds}" for k in range(self.learners)]

        def judge(v, batch):
            return self.judge([v[name] for name in last]) + 0.3 * (v.a**2).sum()

        return mlo.ProblemGraph([mlo.Problem("a", judge, self.a, reads=last), *stages])

    def truth(self, answer):
        """Differentiate the objective, with `answer(k, a, previous encoder)` for each stage, by plain autograd."""
        a, previous, answers = self.a.clone().requires_grad_(), None, []
        for stage in range(self.learners * self.rounds):
            answers.append(answer(stage % self.learners, a, previous))
            previous = answers[-1]["encoder"]
        objective = self.judge(answers[-self.learners :]) + 0.3 * (a**2).sum()
        return torch.autograd.grad(objective, a)[0]


def chains():
    return st.builds(Chain, st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**16))


def tolerance(rule):
    # Rounding, or what central differences leave, over a chain of at most nine stages.
    return 1e-5 if isinstance(rule.product, mlo.FiniteDifference) else 1e-8


@settings(max_examples=60)
@given(
    chains(),
    st.sampled_from(UNROLLED),
    st.sampled_from(["implicit", "explicit"]),
    st.floats(0.0, 1.9),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.9]),
)
def test_unrolled(chain, rule, form, c, steps, momentum):
    eta = 0.1
    proximal = mlo.Proximal(c / (2 * eta), step_size=eta, form=form)
    graph = chain.graph(rule, torchopt.sgd(eta, momentum=momentum), proximal, steps)

    def answer(k, a, previous):
        w = {key: value.clone().requires_grad_() for key, value in chain.start[k].items()}
        moved = {key: torch.zeros_like(value) for key, value in w.items()}
        for _ in range(steps):
            found = torch.autograd.grad(chain.loss(k, w, a), list(w.values()), create_graph=True)
            moved = {key: momentum * moved[key] + g for key, g in zip(w, found, strict=True)}
            half = {key: w[key] - eta * moved[key] for key in w}
            if previous is not None and form == "implicit":
                half["encoder"] = (half["encoder"] + c * previous) / (1 + c)
            elif previous is not None:
                half["encoder"] = half["encoder"] - c * (w["encoder"] - previous)
            w = half
        return w

    found, truth = mlo.hypergradient(graph, of="a"), chain.truth(answer)
    assert (found - truth).norm() <= tolerance(rule) * truth.norm()


@settings(max_examples=20)
@given(chains(), st.sampled_from(IMPLICIT), st.sampled_from(["implicit", "explicit"]), st.floats(0.0, 2.0))
def test_implicit(chain, rule, form, weight):
    # Explicit steps of 0.5 on curvature up to 1.5 + 2 * weight need a smaller step: 0.2 keeps c below 0.8.
    eta = 0.5 if form == "implicit" else 0.2
    graph = chain.graph(rule, torchopt.sgd(eta), mlo.Proximal(weight, step_size=eta, form=form), 250)

    def answer(k, a, previous):
        h, free = chain.h[k], chain.b[k] @ a
        if previous is None:
            return {"encoder": free, "head": a.sum()}
        held = torch.linalg.solve(h + 2 * weight * torch.eye(3, dtype=F64), h @ free + 2 * weight * previous)
        return {"encoder": held, "head": a.sum()}

    found, truth = mlo.hypergradient(graph, of="a"), chain.truth(answer)
    assert (found - truth).norm() <= tolerance(rule) * truth.norm()


@settings(max_examples=15)
@given(chains(), st.floats(0.0, 1.9))
def test_first_order_is_the_direct_part(chain, c):
    graph = chain.graph(mlo.FirstOrder(), torchopt.sgd(0.1), mlo.Proximal(5 * c, step_size=0.1), 1)
    torch.testing.assert_close(mlo.hypergradient(graph, of="a"), 0.6 * chain.a)
