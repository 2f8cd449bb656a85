"""A first-order answer is a constant: the hypergradient is the direct derivative at it."""

import pytest
import torch
import torchopt

import mlo
from mlo.gradient import make_context
from mlo.solve import solve

F64 = torch.float64


def vector(*entries):
    return torch.tensor(entries, dtype=F64)


def graph(steps, rule, direct=True):
    def top(v, batch):
        return (v.w * v.z).sum() * direct + (v.w**3).sum()

    def low(v, batch):
        return ((v.w - v.z) ** 2).sum()

    return mlo.ProblemGraph(
        [
            mlo.Problem("z", top, vector(1.0, -2.0), reads=["w"], update=torchopt.sgd(0.1)),
            mlo.Problem(
                "w", low, vector(0.5, 0.25), reads=["z"], update=torchopt.sgd(0.25), steps=steps, response=rule
            ),
        ]
    )


def test_the_direct_derivative_at_the_answer():
    # Two steps of 1/4 on |w - z|^2 halve the gap twice: w = z + (w0 - z) / 4.
    truth = vector(1.0, -2.0) + (vector(0.5, 0.25) - vector(1.0, -2.0)) / 4
    assert torch.equal(mlo.hypergradient(graph(2, mlo.FirstOrder()), of="z"), truth)


def test_no_step_takes_the_value_as_it_stands():
    assert torch.equal(mlo.hypergradient(graph(0, mlo.FirstOrder()), of="z"), vector(0.5, 0.25))


def test_law_of_the_pullback():
    rule = mlo.FirstOrder()
    node, trace = solve(make_context(graph(2, rule), {}, {}), "w")
    assert rule.pullback(node, trace, trace.answer, ["z"], differentiable=False).parts == {}


def test_no_direct_dependence_is_zero_and_not_an_error():
    assert torch.equal(mlo.hypergradient(graph(2, mlo.FirstOrder(), direct=False), of="z"), vector(0.0, 0.0))


def test_twice_the_same_bits():
    found = [mlo.hypergradient(graph(3, mlo.FirstOrder()), of="z") for _ in range(2)]
    assert torch.equal(*found)


@pytest.mark.parametrize("above", [mlo.Unroll(), mlo.Implicit(mlo.Dense())])
def test_inside_an_exact_rule_it_is_a_constant(above):
    """min z: m; m: |m - l - z|^2 with l first-order: dm/dz is that of a problem with l held."""

    def nested(response, steps):
        return mlo.ProblemGraph(
            [
                mlo.Problem("z", lambda v, _: (v.m**2).sum(), vector(1.0), reads=["m"], update=torchopt.sgd(0.1)),
                mlo.Problem(
                    "m",
                    lambda v, _: ((v.m - v.l - v.z) ** 2).sum(),
                    vector(0.3),
                    reads=["l", "z"],
                    update=torchopt.sgd(0.25),
                    steps=1,
                    response=above,
                ),
                mlo.Problem(
                    "l",
                    lambda v, _: ((v.l - 0.5 * v.m) ** 2).sum(),
                    vector(0.15),
                    reads=["m"],
                    update=torchopt.sgd(0.5),
                    steps=steps,
                    response=response,
                ),
            ]
        )

    moving, held = nested(mlo.FirstOrder(), 1), nested(mlo.FirstOrder(), 0)
    assert torch.equal(mlo.hypergradient(moving, of="z"), mlo.hypergradient(held, of="z"))
    assert not torch.allclose(mlo.hypergradient(nested(mlo.Unroll(), 1), of="z"), mlo.hypergradient(held, of="z"))
