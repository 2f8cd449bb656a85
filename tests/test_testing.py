"""The checks for users' own problems: silent on what is right, and loud, at the right place, on planted mistakes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
import torchopt
from hypothesis import given, settings

import mlo
import mlo.testing
from mlo.hypergradient.base import Pullback
from mlo.hypergradient.run import filled
from mlo.testing import strategies
from mlo.vector import scaled

EXACT = [mlo.Unroll(), mlo.Implicit(mlo.CG()), mlo.Implicit(mlo.Dense())]
check = mlo.testing.check_hypergradient


@settings(max_examples=60)
@given(strategies.quadratic_graphs(levels=(2, 5), rules=EXACT, largest=2))
def test_quadratic_graphs_have_the_closed_form_that_they_say(drawn):
    found = mlo.hypergradient(drawn.graph, of=drawn.of)
    torch.testing.assert_close(found, drawn.hypergradient, rtol=1e-7, atol=1e-9)


def scalar(value):
    return torch.tensor(float(value), dtype=torch.float64)


H = torch.tensor([[2.0, 0.3], [0.3, 1.0]], dtype=torch.float64)


def two_answers(**rules):
    """x is read by "good" and "bad"; a Newton step solves each, so that every right rule is exact."""

    def lower(name, shift):
        return lambda v, batch: 0.5 * v[name] @ H @ v[name] - v[name] @ (v.x + shift)

    def upper(v, batch):
        return 0.5 * ((v.good - 1) ** 2).sum() + 0.5 * ((v.bad + 2) ** 2).sum() + 0.1 * (v.x**2).sum()

    inverse = torch.linalg.inv(H)
    newton = torchopt.base.GradientTransformation(
        lambda params: (),
        lambda g, state, *, params=None, inplace=True: ({name: -inverse @ value for name, value in g.items()}, state),
    )
    x, zero = torch.tensor([1.0, -0.5]).double(), torch.zeros(2).double()
    problems = [mlo.Problem("x", upper, x, reads=["good", "bad"], update=torchopt.sgd(0.1))]
    for shift, name in enumerate(("good", "bad")):
        rule = rules.get(name, mlo.Implicit(mlo.Dense()))
        problems.append(mlo.Problem(name, lower(name, shift), zero, reads=["x"], update=newton, response=rule))
    return mlo.ProblemGraph(problems)


@dataclass(frozen=True)
class Wrong(mlo.Implicit):
    """An implicit response whose pullback is multiplied by a factor: -1 is a sign, 0.1 a missing step size or H."""

    factor: float = -1.0

    def pullback(self, node, trace, cotangent, wanted, *, differentiable):
        back = super().pullback(node, trace, cotangent, wanted, differentiable=differentiable)
        return replace(back, parts={name: scaled(self.factor, part) for name, part in back.parts.items()})


class StaleCG(mlo.CG):
    """The iterate before the last (hypertorch H1, BOAT O1)."""

    def solve(self, matvec, b, *, start=None):
        right = super().solve(matvec, b, start=start)
        if right.iterations < 2:
            return replace(right, value=torch.zeros_like(b))
        return mlo.CG(max_steps=right.iterations - 1).solve(matvec, b)


@dataclass(frozen=True)
class NoMixedTerm(mlo.Unroll):
    """A solve that is cut from what it reads, though it says that it transmits."""

    transmits: ClassVar[bool] = True

    def pullback(self, node, trace, cotangent, wanted, *, differentiable):
        return Pullback({name: filled(None, node.read()[name]) for name in wanted})


MISTAKES = {
    "sign": Wrong(mlo.Dense()),
    "factor": Wrong(mlo.Dense(), factor=0.1),
    "small factor": Wrong(mlo.Dense(), factor=1.001),
    "first order": mlo.FirstOrder(),
    "stale": mlo.Implicit(StaleCG()),
    "one term": mlo.Implicit(mlo.Neumann(max_steps=1, step_size=0.1)),
    "one step of CG": mlo.Implicit(mlo.CG(max_steps=1)),
    "cut": NoMixedTerm(),
}


def test_the_graph_below_is_right_without_a_mistake():
    check(two_answers(), of="x")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found_where_it_is(mistake):
    with pytest.raises(mlo.HypergradientMismatch) as caught:
        check(two_answers(bad=MISTAKES[mistake]), of="x")
    message = str(caught.value)
    assert "the hypergradient of problem 'x'" in message
    assert "the answer of 'bad'" in message
    assert "'good'" not in message


@dataclass(frozen=True)
class PartialHessian(mlo.Implicit):
    """The Hessian of the problem's own loss instead of its reduced objective (Betty B2, TorchOpt T1)."""

    def pullback(self, node, trace, cotangent, wanted, *, differentiable):
        with torch.enable_grad():
            own = trace.end.params["value"].detach().requires_grad_()
            values = {**node.context.values, **node.read()}
            shown = {name: values[name]["value"].detach() for name in node.problem.reads}
            loss = node.problem.loss({**shown, node.name: own}, None)
            (gradient,) = torch.autograd.grad(loss, own, create_graph=True)
        (h,) = torch.autograd.grad(gradient, own)
        back = super().pullback(node, trace, cotangent, wanted, differentiable=differentiable)
        # In one dimension the true adjoint is c / reduced curvature: take that of the loss alone instead.
        factor = back.solution.curvature / h
        return replace(back, parts={name: scaled(factor, part) for name, part in back.parts.items()})


def nested(rule, bottom=None):
    u = mlo.Problem("u", lambda v, b: 0.5 * (v["m"] - 3) ** 2, scalar(1), reads=["m"], update=torchopt.sgd(0.1))
    m = {"reads": ["low"], "update": torchopt.sgd(0.5), "response": rule}
    m = mlo.Problem("m", lambda v, b: 0.5 * v["m"] ** 2 + 0.5 * (v["low"] - 1) ** 2, scalar(0), **m)
    low = {"reads": ["m", "u"], "update": torchopt.sgd(1.0), "response": bottom or mlo.Unroll()}
    low = mlo.Problem("low", lambda v, b: 0.5 * (v["low"] - v["m"] - v["u"]) ** 2, scalar(0), **low)
    return mlo.ProblemGraph([u, m, low])


def test_a_partial_hessian_is_found_at_the_middle_problem():
    check(nested(mlo.Implicit()), of="u")
    with pytest.raises(mlo.HypergradientMismatch, match=r"'u'.*the answer of 'm'"):
        check(nested(PartialHessian()), of="u")


def test_a_wrong_gradient_that_a_middle_problem_is_solved_by():
    # Every solve of m, in the hypergradient and in its reference, follows the same wrong gradient: they agree.
    graph = nested(mlo.Unroll(), Wrong(mlo.Dense(), factor=0.5))
    with pytest.raises(mlo.HypergradientMismatch) as caught:
        check(graph, of="u", values={"u": scalar(0.5)})
    message = str(caught.value)
    assert "hypergradient of problem 'm', by which 'm' is solved inside the step of 'u', is wrong" in message
    assert "wrong: 'low' reads 'm'" in message


def loses(read, rule):
    """x reads w and w reads x; one of the two reads is detached."""

    def kept(value, name):
        return value.detach() if name == read else value

    def upper(v, batch):
        return ((kept(v.w, "w") - 3) ** 2).sum() + (v.x**2).sum()

    def lower(v, batch):
        return ((v.w - kept(v.x, "x")) ** 2).sum()

    x = mlo.Problem("x", upper, torch.ones(2).double(), reads=["w"], update=torchopt.sgd(0.1))
    w = {"reads": ["x"], "update": torchopt.sgd(0.1), "steps": 2, "response": rule}
    return mlo.ProblemGraph([x, mlo.Problem("w", lower, torch.zeros(2).double(), **w)])


@pytest.mark.parametrize("rule", [mlo.Unroll(), mlo.Unroll(product=mlo.FiniteDifference())], ids=str)
@pytest.mark.parametrize(("read", "line"), [("w", "'x' reads 'w'"), ("x", "'w' reads 'x'")])
def test_a_read_that_a_loss_detaches_is_named(read, line, rule):
    check(loses(None, rule), of="x")
    with pytest.raises(mlo.HypergradientMismatch, match=rf"; wrong: {line}.*look for \.detach\(\)") as caught:
        check(loses(read, rule), of="x")
    assert str(caught.value).count(" reads ") == 1


def test_nothing_to_find_is_still_said():
    graph = two_answers(good=mlo.Unroll(), bad=mlo.Unroll())
    lower = [mlo.Problem(p.name, p.loss, p.variable, reads=["x"], steps=0) for p in graph.problems[1:]]

    def blind(v, batch):
        return (v.good + v.bad + 0 * v.x).detach().sum() + 0 * v.good.sum()

    top = mlo.Problem("x", blind, torch.ones(2).double(), reads=["good", "bad"])
    with pytest.raises(mlo.LossError, match="objective of problem 'x' does not depend on 'x'"):
        check(mlo.ProblemGraph([top, *lower]), of="x")


def test_any_problem_can_be_checked_with_values_and_batches():
    def fit(v, batch):
        return ((v.w * batch - v.x) ** 2).sum()

    top = {"reads": ["w"], "update": torchopt.sgd(0.1)}
    top = mlo.Problem("x", lambda v, b: ((v.w - b) ** 2).sum() + v.x**4, scalar(1), **top)
    graph = mlo.ProblemGraph([top, mlo.Problem("w", fit, scalar(0), reads=["x"], update=torchopt.adam(0.1), steps=3)])
    how = {"values": {"x": scalar(0.3), "w": scalar(-1)}, "batches": {"x": scalar(2), "w": scalar(0.5)}}
    check(graph, of="x", **how)
    check(graph, of="w", **how)
    with pytest.raises(mlo.GraphError, match="'zz'"):
        check(graph, of="zz", **how)


def test_an_implicit_answer_that_is_not_solved_to_the_end_is_said_to_be_so():
    low = {"reads": ["x"], "update": torchopt.sgd(0.1), "response": mlo.Implicit()}
    top = {"reads": ["w"], "update": torchopt.sgd(0.1)}
    top = mlo.Problem("x", lambda v, b: v.w**2, scalar(1), **top)
    graph = [mlo.Problem("w", lambda v, b: 0.5 * (v.w - v.x**2) ** 2, scalar(0), steps=n, **low) for n in (3, 300)]
    with pytest.raises(mlo.HypergradientMismatch, match=r"answer of 'w'.*away from where its rule .*take more of them"):
        check(mlo.ProblemGraph([top, graph[0]]), of="x")
    check(mlo.ProblemGraph([top, graph[1]]), of="x")
    with pytest.raises(mlo.ConfigError, match="directions must be a whole number >= 1"):
        check(mlo.ProblemGraph([top, graph[1]]), of="x", directions=0)


def test_noise_that_is_drawn_from_torch_is_no_false_alarm():
    def fit(v, batch):
        return ((v.w * torch.rand(2, dtype=torch.float64) - v.x) ** 2).sum()

    top = {"reads": ["w"], "update": torchopt.sgd(0.1)}
    top = mlo.Problem("x", lambda v, b: (v.w * torch.rand(2, dtype=torch.float64)).sum(), scalar(1), **top)
    low = {"reads": ["x"], "update": torchopt.sgd(0.1), "steps": 3}
    graph = mlo.ProblemGraph([top, mlo.Problem("w", fit, torch.zeros(2).double(), **low)])
    before = torch.get_rng_state()
    mlo.testing.check_deterministic(graph, of="x")
    check(graph, of="x")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_with_a_memory_is_caught(where):
    calls = []

    def remembering(v, batch):
        calls.append(1)
        factor = len(calls) * v.x
        return (v.x**2).sum() + (factor if where == "loss" else factor - factor.detach()).sum()

    graph = mlo.ProblemGraph([mlo.Problem("x", remembering, torch.ones(2).double(), update=torchopt.sgd(0.1))])
    with pytest.raises(mlo.HypergradientMismatch, match=f"the {'loss' if where == 'loss' else 'hypergradient'} .*'x'"):
        mlo.testing.check_deterministic(graph, of="x")
