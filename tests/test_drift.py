"""A chain of stages that diverges is told of long before its numbers overflow, and a stable one never is."""

import numpy as np
import pytest
import torch
import torchopt
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import mlo
from mlo.drift import FAR, driven_away

F64 = torch.float64
OVERFLOW = {torch.float32: 3.4e38, F64: 1.8e308}


class Chain:
    """Quadratic stages by their recursion, with numbers drawn at random; the first learner's stages are stable.

    Args:
        circle: Whether the explicit step of the first stage is to be held near the last one, where c > 1.
        growth: By how much the steepest stage of the last learner exceeds the bound of stability; None for not at all.
    """

    def __init__(self, draw, *, growth, circle=False):
        self.random = np.random.default_rng(draw(st.integers(0, 2**31)))
        self.explicit = circle or draw(st.booleans())
        self.cyclic = circle or (growth is None and draw(st.booleans()))
        self.learners = draw(st.integers(1 if growth is None else 2, 3))
        self.count, dim = max(2, self.learners * draw(st.integers(1, 4))), draw(st.integers(1, 4))
        self.inner, self.noise = draw(st.integers(1, 3)), draw(st.sampled_from([0.0, 0.0, 1.0, 10.0]))
        self.c = draw(st.floats(1.0 if circle else 0.0, 1.99)) if self.explicit else draw(st.floats(0, 50))
        room = (2 - self.c) if self.explicit else (2 + self.c)  # the step size times the curvature stays below
        self.steepness = self.random.uniform(0, 1, (self.learners, dim)) * draw(st.floats(0, 0.999)) * room
        self.steepness[0] = np.minimum(self.steepness[0], 1.99)  # the first stage has no anchor
        if growth is not None:
            self.steepness[-1, 0] = room + growth * (1 if self.explicit else 1 + self.c)
        self.optimum = self.random.normal(0, 10 ** draw(st.floats(-2, 1.5)), (self.learners, dim))
        self.w = self.random.normal(0, 1, (self.count, dim)) * 10 ** draw(st.floats(-2, 0))
        self.scale = [max(_norm(self.w[i]) + _norm(self.w[i - 1]), dim**0.5) for i in range(self.count)]

    def step(self):
        """Make an outer step; return whether a stage alarms."""
        last = self.w[-1].copy()
        for i in range(self.count):
            anchor, begin = self.anchor(self.w, last, i), self.w[i].copy()
            target = self.optimum[i % self.learners] + self.noise * self.random.normal(0, 1, begin.shape)
            self.w[i] = self.solved(begin, anchor, target, i)
            if anchor is not None:
                ends = (_norm(begin - anchor), _norm(self.w[i] - anchor))
                known = {"anchor": _norm(anchor), "limit": FAR * self.scale[i], "sure": False, "circle": self.cyclic}
                if driven_away(*ends, **known):
                    return True
        return False

    def anchor(self, w, last, i):
        return w[i - 1] if i else last if self.cyclic else None

    def solved(self, w, anchor, target, i):
        """Return what stage i makes of its value."""
        for _ in range(self.inner):
            half = w - self.steepness[i % self.learners] * (w - target)
            if anchor is None:
                w = half
            elif self.explicit:
                w = half - self.c * (w - anchor)
            else:
                w = (half + self.c * anchor) / (1 + self.c)
        return w

    def radius(self):
        """Return the largest factor of an outer step, over all eigenvectors: of the stages as a whole."""
        dim = self.w.shape[1]
        w = np.repeat(np.eye(self.count)[:, :, None], dim, axis=2)  # stage, where it began, coordinate
        last = w[-1].copy()
        for i in range(self.count):
            w[i] = self.solved(w[i], self.anchor(w, last, i), 0.0, i)
        return max(np.abs(np.linalg.eigvals(w[:, :, j])).max() for j in range(dim))


_norm = np.linalg.norm


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_stable_chain_never_alarms(data):
    chain = Chain(data.draw, growth=None)
    assume(chain.radius() < 1)
    assert not any(chain.step() for _ in range(70))


@given(st.data(), st.floats(0.02, 50.0))
@settings(max_examples=100, deadline=None)
def test_an_unstable_chain_alarms_long_before_overflow(data, growth):
    chain = Chain(data.draw, growth=growth)
    steps = 0
    while not chain.step():
        steps += 1
        assert steps < 3000
    assert np.abs(chain.w).max() < 1e14  # five orders below where float32 overflows in a square


@pytest.mark.parametrize("seed", range(10))
def test_a_circle_of_stable_stages_that_is_unstable_alarms_long_before_overflow(seed):
    drawn = iter([seed, 3, 4, 2, 1, 0.0, 1.9, 0.9, 0.0, 0.0])
    chain = Chain(lambda _: next(drawn), growth=None, circle=True)
    assert chain.radius() > 1.1
    assert any(chain.step() for _ in range(1000))
    assert np.abs(chain.w).max() < 1e14


def learner(name, dtype, *, update, curvature=1.0, start=0.5, steps=1):
    def loss(v, batch):
        return 0.5 * curvature * ((v[name] - v.a) ** 2).sum()

    start = torch.full((3,), start, dtype=dtype)
    return mlo.Problem(name, loss, start, reads=["a"], update=update, steps=steps)


def engine(learners, proximal, *, rounds=2, dtype=F64, **options):
    stages = mlo.interleave(learners, rounds=rounds, proximal=proximal, shared="")
    lasts = [f"{one.name}@{rounds}" for one in learners]
    top = mlo.Problem(
        "a",
        lambda v, _: sum((v[name] ** 2).sum() for name in lasts),
        torch.ones(3, dtype=dtype),
        reads=lasts,
        update=torchopt.sgd(0.0),
    )
    return mlo.Engine(mlo.ProblemGraph([top, *stages]), **options)


def step_size(rate, **options):
    return torchopt.sgd(rate, **options)


DIVERGING = {
    "literal, insisted on": (
        step_size(0.1),
        mlo.Proximal(20.0, step_size=0.1, form="explicit", allow_unstable=True),
        1,
    ),
    "curved loss": (step_size(0.1), mlo.Proximal(9.0, step_size=0.1, form="explicit"), 5.0),
    "momentum": (step_size(0.1, momentum=0.9), mlo.Proximal(9.9, step_size=0.1, form="explicit"), 30.0),
    "implicit, too large a step": (step_size(0.1), mlo.Proximal(1.0, step_size=0.1), 40.0),
    "cyclic": (
        step_size(0.1),
        mlo.Proximal(20.0, step_size=0.1, form="explicit", anchor="cyclic", allow_unstable=True),
        1,
    ),
}


def driven(engine, frozen, seen):
    """Make steps, keeping the values before each."""
    for _ in range(300):
        seen.append(engine.values)
        engine.step(frozen=frozen)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("case", DIVERGING)
def test_the_stage_its_anchor_c_and_the_cure_are_named(case, dtype, frozen):
    update, proximal, curvature = DIVERGING[case]
    calm = learner("l", dtype, update=update, curvature=0.1 if case != "momentum" else 0.01)
    found, seen = engine([calm, learner("r", dtype, update=update, curvature=curvature)], proximal, dtype=dtype), []
    told = r"chain diverges at problem '\w@\d': it is held near '\w@\d' with c ="
    with pytest.raises(mlo.DivergenceError, match=told):
        driven(found, frozen, seen)
    after = found.values
    assert all(torch.equal(value, after[name]) for name, value in seen[-1].items())
    largest = max(float(value.abs().max()) for value in after.values())
    assert largest < 1e-5 * OVERFLOW[dtype] ** 0.5  # its square, the loss, is far from overflow as well


@pytest.mark.parametrize("update", [step_size(0.5), step_size(0.1, momentum=0.9), torchopt.adam(0.3)])
@pytest.mark.parametrize("form", ["implicit", "explicit"])
def test_an_ordinary_search_from_fresh_weights_does_not_alarm(update, form):
    proximal = mlo.Proximal(1.9, step_size=0.5, form=form)
    nearly = 0.15  # c = 1.9 leaves that much for the step size times the curvature
    one = learner("l", F64, update=update, curvature=nearly, start=1e-3)
    found = engine([one, learner("r", F64, update=update, curvature=nearly, start=-1e-3)], proximal)
    for _ in found.run(60):
        pass


def test_a_large_but_steady_scale_is_no_divergence():
    one = learner("l", F64, update=step_size(0.1), start=1e6)
    found = engine([one, learner("r", F64, update=step_size(0.1), start=-1e6)], mlo.Proximal(1.0, step_size=0.1))
    for _ in found.run(20):
        pass


@pytest.mark.parametrize(("rate", "momentum"), [(0.05, 0.0), (0.4, 0.0), (0.02, 0.9)])
@pytest.mark.parametrize("target", [2e4, 3e5, -1e6])
def test_an_optimum_far_from_small_weights_is_no_divergence(target, rate, momentum):
    """As in a regression of prices beside one of ratings: one step takes the weights up by orders of magnitude."""

    def loss(v, _):
        return ((v.price - target) ** 2).sum() + 0 * v.a.sum()

    update = step_size(rate, momentum=momentum)
    price = mlo.Problem("price", loss, torch.full((3,), 1e-3, dtype=F64), reads=["a"], update=update)
    rating = learner("rating", F64, update=update, curvature=2.0, start=-1e-3)
    found = engine([rating, price], mlo.Proximal(0.01, step_size=rate))
    for _ in found.run(60):
        pass


def test_a_rate_that_rises_over_the_bound_is_refused_where_it_does_with_the_stage():
    rates = [0.05, 0.08, 0.12]
    proximal = mlo.Proximal(9.0, step_size=lambda count: rates[count], form="explicit")
    found = engine([learner("l", F64, update=step_size(0.05)), learner("r", F64, update=step_size(0.05))], proximal)
    found.step()
    found.step()
    before = found.values
    told = r"^problem 'r@1', held near 'l@1': .*c = 2\*eta\*lambda = .* = 2.16"
    with pytest.raises(mlo.StabilityError, match=told) as e:
        found.step()
    assert e.value.__notes__ == ["in outer step 3 of the engine"]
    assert all(torch.equal(before[name], value) for name, value in found.values.items())
