"""The checker against the numeric defects that were reproduced in other libraries.

Each defect is planted, one at a time, in a copy of our own rule, solver, product or sweep, on a graph on which it
shows. The graph must pass without it; with it, the checker must raise and name the read that is wrong, and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torchopt

import mlo
import mlo.testing
from tests import defects

SGD = torchopt.sgd(0.1)
H = torch.tensor([[2.0, 0.3], [0.3, 1.0]], dtype=torch.float64)


def vector(*entries):
    return torch.tensor(entries, dtype=torch.float64)


def bilevel(rule, *, lower=None, x=None, w=None, update=SGD, steps=1):
    """A loss of x over two answers: of w, which follows x with curvature H, and of calm, which is always right."""

    def upper(v, batch):
        return 0.5 * ((v.w - 3) ** 2).sum() + 0.1 * (v.x**2).sum() + 0.2 * ((v.calm + 1) ** 2).sum()

    def follow(v, batch):
        return 0.5 * v.w @ H @ v.w - v.w @ v.x

    def calm(v, batch):
        return 0.5 * ((v.calm - v.x) ** 2).sum()

    x, w = vector(1, -0.5) if x is None else x, vector(0.4, 2) if w is None else w
    low = {"reads": ["x"], "update": update, "steps": steps, "response": rule}
    still = {"reads": ["x"], "update": torchopt.sgd(1.0), "response": mlo.Implicit()}
    return mlo.ProblemGraph(
        [
            mlo.Problem("x", upper, x, reads=["w", "calm"], update=SGD),
            mlo.Problem("w", lower or follow, w, **low),
            mlo.Problem("calm", calm, 0 * x, **still),
        ]
    )


def scalar_bilevel(rule, update=SGD):
    """One number follows another's square; variables without dimensions."""

    def lower(v, batch):
        return 0.5 * (v.w - v.x**2) ** 2

    return bilevel(rule, lower=lower, x=vector(1.5)[0], w=vector(0.3)[0], update=update)


def cascade():
    """U reads m and low, low reads m, m reads U: two paths end at m."""

    def upper(v, batch):
        return 0.5 * (v.m - 3) ** 2 + 0.5 * (v.low - 4) ** 2

    how = {"update": torchopt.sgd(1.0)}
    u = mlo.Problem("u", upper, vector(1)[0], reads=["m", "low"], update=SGD)
    m = mlo.Problem("m", lambda v, b: 0.5 * (v.m - v.u) ** 2, vector(0)[0], reads=["u"], **how)
    low = mlo.Problem("low", lambda v, b: 0.5 * (v.low - v.m) ** 2, vector(0)[0], reads=["m"], **how)
    return mlo.ProblemGraph([u, m, low])


def nested(middle, bottom=None):
    """Min-min-min: low is solved inside the step of m, and its curvature in m is not constant."""

    def middle_loss(v, batch):
        return 0.5 * v.m**2 + 0.5 * (v.low - 1) ** 2

    def bottom_loss(v, batch):
        return 0.5 * (v.low - v.m**2 - v.u) ** 2

    u = mlo.Problem("u", lambda v, b: 0.5 * (v.m - 3) ** 2, vector(0.5)[0], reads=["m"], update=SGD)
    m = {"reads": ["low"], "update": torchopt.sgd(0.2), "steps": 2, "response": middle}
    low = {"reads": ["m", "u"], "update": torchopt.sgd(1.0), "response": bottom or mlo.Implicit()}
    m, low = mlo.Problem("m", middle_loss, vector(0.7)[0], **m), mlo.Problem("low", bottom_loss, vector(0)[0], **low)
    return mlo.ProblemGraph([u, m, low])


def noisy(product):
    """Dropout in the lower loss; the products are taken by differences."""

    def lower(v, batch):
        mask = torch.nn.functional.dropout(torch.ones(2, dtype=torch.float64))
        return 0.5 * (mask * (v.w - v.x) ** 2).sum()

    return bilevel(mlo.Unroll(product=product), lower=lower, steps=2)


@dataclass(frozen=True)
class Case:
    """A right graph, the same with a defect in it, the problem to check, and the read to be named.

    A defect in a function of ours has a `plant` that puts it there; the graph is then the same.
    """

    right: Callable[[], mlo.ProblemGraph]
    wrong: Callable[[], mlo.ProblemGraph]
    read: str
    of: str = "x"
    plant: object = None


def rules(make, right, wrong, read="'w' reads 'x'", of="x"):
    return Case(lambda: make(right), lambda: make(wrong), read, of)


def planted(make, plant, read="'w' reads 'x'", of="x"):
    return Case(make, make, read, of, plant)


def solved(rule):
    return bilevel(rule, update=torchopt.sgd(0.5), steps=100)


def settled_scalar(rule):
    return scalar_bilevel(rule, update=torchopt.sgd(1.0))


def unrolled():
    return nested(mlo.Unroll())


BELOW = ("'m' reads 'low'", "u")
CASES = {
    "B1 missing path": planted(cascade, defects.SecondPathDropped, "'low' reads 'm', and this path is dropped", "u"),
    "B2 partial mixed derivative": rules(nested, mlo.Unroll(), defects.PartialMixedDerivative(), *BELOW),
    "B3 no step size": rules(bilevel, mlo.Unroll(), defects.NoStepSize()),
    "B3 no inverse": rules(solved, mlo.Implicit(), mlo.Implicit(defects.Copied())),
    "B4 other masks": planted(lambda: noisy(mlo.FiniteDifference()), defects.OtherMasks),
    "B5 scaled denominator": rules(solved, mlo.Implicit(), mlo.Implicit(defects.ScaledDenominator())),
    "O1, H1 stale iterate": rules(solved, mlo.Implicit(), mlo.Implicit(defects.StaleIterate())),
    "O1, H1 stale iterate, one dimension": rules(settled_scalar, mlo.Implicit(), mlo.Implicit(defects.StaleIterate())),
    "O2 first gradient reused": rules(lambda rule: bilevel(rule, steps=3), mlo.Unroll(), defects.FirstGradientReused()),
    "O2 leak": rules(lambda rule: bilevel(rule, steps=3), mlo.Unroll(), defects.LowerGradientLeaks()),
    "O3 untracked": planted(lambda: bilevel(mlo.Unroll()), defects.Untracked),
    "O4 other settings": rules(
        solved,
        mlo.Implicit(mlo.Neumann(max_steps=400, step_size=0.4)),
        mlo.Implicit(defects.OtherSettings(max_steps=400, step_size=0.4)),
    ),
    "T1 second derivative lost": planted(unrolled, defects.SecondDerivativeLost, *BELOW),
    "T1 root without history": planted(unrolled, defects.RootWithoutHistory, *BELOW),
    "T2 scalar": rules(settled_scalar, mlo.Implicit(), mlo.Implicit(defects.NoDimensionsNoSteps())),
}
PEERS = {"B1", "B2", "B3 no step", "B3 no inv", "B4", "B5", "O1", "O2", "O3", "O4", "T1", "T2"}


def test_every_defect_of_the_list_is_here():
    assert all(any(case.startswith(peer) for case in CASES) for peer in PEERS)
    assert len(PEERS) == 12


@pytest.mark.parametrize("name", CASES)
def test_a_planted_defect_is_flagged_on_the_right_read(name, monkeypatch):
    case = CASES[name]
    mlo.testing.check_hypergradient(case.right(), of=case.of)
    if case.plant is not None:
        case.plant.plant(monkeypatch)
    with pytest.raises(mlo.HypergradientMismatch) as caught:
        mlo.testing.check_hypergradient(case.wrong(), of=case.of)
    message = str(caught.value)
    assert f"wrong: {case.read}" in message or f"put together: {case.read}" in message, message
    assert message.count(" reads ") == 1, message  # this read, and no other


def test_a_residue_left_in_the_weights_is_caught_by_the_other_check():
    # A residue of rounding is no wrong derivative: it is far below what differences resolve. But the second of two
    # evaluations starts from other weights, and that differs bit for bit.
    def lower(v, batch):
        return (torch.cosh(v.w - 4 - v.x).log() + 0.1 * v.w**2).sum()

    def graph(product):
        # Just below 4, so that a shift crosses to where numbers are spaced twice as far.
        x, w = torch.linspace(0.1, 1, 20, dtype=torch.float64), 4 - torch.linspace(1e-4, 2e-3, 20).double()
        return bilevel(mlo.Unroll(product=product), lower=lower, x=x, w=w)

    mlo.testing.check_deterministic(graph(mlo.FiniteDifference(epsilon=0.1)), of="x")
    with pytest.raises(mlo.HypergradientMismatch, match="differs between two evaluations"):
        mlo.testing.check_deterministic(graph(defects.PerturbsInPlace(epsilon=0.1)), of="x")
