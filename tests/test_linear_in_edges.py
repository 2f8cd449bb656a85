"""One pullback for each responding problem, one cotangent for each read, however many paths there are.

The layered graph has two problems in each of d layers, and each reads both of the layer above: 4 d reads between
problems, 2^d paths from the objective back to the variable.
"""

from dataclasses import dataclass, field

import pytest
import torch
import torchopt

import mlo
from mlo.gradient import prepared
from mlo.hypergradient import AbstractResponse
from mlo.solve import total_gradient

F64 = torch.float64


@dataclass(frozen=True)
class Counted(AbstractResponse):
    """A rule that counts its pullbacks, and the reads that they serve."""

    rule: AbstractResponse
    served: list = field(default_factory=list, compare=False)

    def respond(self, node, *, differentiable):
        return self.rule.respond(node, differentiable=differentiable)

    def pullback(self, node, trace, cotangent, wanted, *, differentiable):
        back = self.rule.pullback(node, trace, cotangent, wanted, differentiable=differentiable)
        self.served.append((node.name, *back.parts))
        return back


def layered(depth, rule):
    """Problems w1a, w1b (nearest to x) ... wDa, wDb; the objective reads the last two."""

    def near(name, reads):
        def loss(v, batch):
            pull = sum(torch.sin(v[read] + place) for place, read in enumerate(reads))
            return ((v[name] - pull) ** 2).sum() / 2

        return loss

    def layer(k):
        return ["x"] if k == 0 else [f"w{k}a", f"w{k}b"]

    def end(v, batch):
        return sum((v[name] ** 2).sum() for name in layer(depth))

    problems = [mlo.Problem("x", end, torch.full((1,), 0.3, dtype=F64), reads=layer(depth), update=torchopt.sgd(0.1))]
    for k in range(depth, 0, -1):
        for name in layer(k):
            problems.append(
                mlo.Problem(name, near(name, layer(k - 1)), torch.zeros(1, dtype=F64), reads=layer(k - 1),
                            update=torchopt.sgd(1.0), response=rule)
            )  # fmt: skip
    return mlo.ProblemGraph(problems)


@pytest.mark.parametrize("rule", [mlo.Unroll(), mlo.Implicit(mlo.Dense())], ids=["unroll", "implicit"])
@pytest.mark.parametrize("depth", range(2, 13))
def test_pullbacks_equal_responders_and_cotangents_equal_reads(depth, rule):
    counted = Counted(rule)
    context = prepared(layered(depth, counted), "x", {}, {})
    found = total_gradient(context, "x", ("x",)).seen.parts["x"]["value"]
    reads = 4 * (depth - 1) + 2  # between layers, and of x by the first
    assert context.tally.pullbacks == len(counted.served) == 2 * depth
    assert sum(len(parts) for _, *parts in counted.served) == reads
    assert reads + 2 == 4 * depth  # with those of the objective: 48 at depth 12, where there are 4,096 paths
    torch.testing.assert_close(found, by_autograd(depth), rtol=1e-12, atol=1e-13)


def test_no_cotangent_is_taken_for_an_input_that_leads_nowhere():
    one, counted = torch.ones(1, dtype=F64), Counted(mlo.Unroll())
    low = {"update": torchopt.sgd(0.5), "response": counted}
    problems = [
        mlo.Problem("x", lambda v, _: (v.w**2).sum(), one, reads=["w"]),
        mlo.Problem("w", lambda v, _: ((v.w - v.x * v.c) ** 2).sum() / 2, one, reads=["x", "c"], **low),
        mlo.Problem("c", lambda v, _: ((v.c - 3) ** 2).sum() / 2, one, **low),
    ]
    mlo.hypergradient(mlo.ProblemGraph(problems), of="x")
    assert counted.served == [("w", "x")]


def by_autograd(depth):
    """The answers in one step each: every problem is where its loss pulls it."""
    x = torch.full((1,), 0.3, dtype=F64).requires_grad_()
    layer = [x]
    for _ in range(depth):
        pull = sum(torch.sin(value + place) for place, value in enumerate(layer))
        layer = [pull, pull.clone()]
    (found,) = torch.autograd.grad(sum((value**2).sum() for value in layer), x)
    return found
