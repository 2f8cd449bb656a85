"""Derivatives of scaled losses: unscaled, to any order, and not lost where the numbers between are small."""

from __future__ import annotations

import pytest
import torch
import torchopt

import mlo
from mlo.evaluate import loss_gradient
from mlo.gradient import make_context

FP16 = mlo.Autocast(torch.float16)
GENERATOR = torch.Generator().manual_seed(0)


def evaluated(loss, value, kind, *, differentiable):
    problem = mlo.Problem("x", loss, value, update=torchopt.sgd(0.1), precision=kind)
    context = make_context(mlo.ProblemGraph([problem]), {}, {})
    params = {"value": value.clone().requires_grad_(differentiable)}
    context = context.with_values({"x": params})
    seen = loss_gradient(context, "x", {"x"}, differentiable=differentiable, stationary=False)
    return seen, params["value"]


A = torch.randn(5, 5, generator=GENERATOR)


def tiny(v, _):
    """A loss of 1e-9, whose gradients float16 rounds to zero: 6e-8 is its smallest number."""
    return 1e-9 * torch.tanh(A @ v.x).float().pow(2).mean()


def smooth(v, _):
    return torch.tanh(A.to(v.x) @ v.x).pow(3).mean()


def test_what_underflows_without_a_scale_comes_out_right_with_one():
    x, v = torch.randn(5, generator=GENERATOR), 1e-4 * torch.randn(5, generator=GENERATOR)

    def orders(kind):
        seen, leaf = evaluated(tiny, x, kind, differentiable=True)
        gradient = seen.parts["x"]["value"]
        (product,) = torch.autograd.grad(gradient, leaf, v, create_graph=True)
        (third,) = torch.autograd.grad(product, leaf, v)
        return gradient.detach(), product.detach(), third

    exact, scaled = orders(None), orders(mlo.Autocast(torch.float16, scale=2.0**24))
    bare = orders(mlo.Autocast(torch.float16, scale=1.0))
    for order, (one, other, lost) in enumerate(zip(exact, scaled, bare, strict=True), start=1):
        assert float((one - other).norm()) <= 0.02 * float(one.norm()), f"derivative of order {order}"
        if order == 1:
            assert float((one - lost).norm()) > 0.5 * float(one.norm()), "nothing underflowed: the test shows nothing"


@pytest.mark.parametrize("size", [1e-30, 1e-8, 1.0, 1e8])
def test_products_are_linear_in_the_size_of_their_vector(size):
    x, v = torch.randn(5, generator=GENERATOR), torch.randn(5, generator=GENERATOR)
    seen, leaf = evaluated(smooth, x, FP16, differentiable=True)
    one, other = (
        torch.autograd.grad(seen.parts["x"]["value"], leaf, factor * v, retain_graph=True)[0] for factor in (1.0, size)
    )
    torch.testing.assert_close(other / size, one, rtol=1e-5, atol=0)  # one rounding of the direction


def test_a_scaled_graph_has_the_derivatives_of_the_plain_one_to_any_order():
    """In float64 nothing is rounded, so that scaling must not be seen at all: to 1e-12, up to the fourth order."""
    x = torch.randn(5, generator=GENERATOR, dtype=torch.float64)
    found = []
    for kind in (None, mlo.Autocast(torch.float16, scale=37.0)):
        seen, leaf = evaluated(smooth, x, kind, differentiable=True)
        orders = [seen.parts["x"]["value"]]
        for _ in range(3):  # every sweep also passes through the orders before
            total = sum((order * torch.linspace(1, 2, 5)).sum() ** 2 for order in orders)
            orders.append(torch.autograd.grad(total, leaf, create_graph=True)[0])
        found.append([order.detach() for order in orders])
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-14)


def test_nested_exact_products_are_those_of_float32():
    """The middle of three levels is differentiated through: third derivatives of scaled losses."""

    def build(kind):
        sgd = torchopt.sgd(0.2)
        mid = lambda v, _: ((v.b - 1.0) ** 2).sum() + (v.a * v.b).cos().sum() + (v.m**2).sum()  # noqa: E731
        low = lambda v, _: (torch.cosh(v.b) * v.m.exp()).sum() + (v.a * v.b).sin().sum()  # noqa: E731
        start = torch.linspace(0.1, 0.5, 4)
        problems = [
            mlo.Problem("a", lambda v, _: (v.m * v.b).sum(), start, reads=["m", "b"], update=sgd),
            mlo.Problem("m", mid, start, reads=["a", "b"], update=sgd, steps=2, precision=kind),
            mlo.Problem("b", low, start, reads=["a", "m"], update=sgd, steps=2, precision=kind),
        ]
        return mlo.hypergradient(mlo.ProblemGraph(problems), of="a")

    # Nothing in these losses is cast by autocast (no product of matrices), so that only scaling is tested.
    torch.testing.assert_close(build(mlo.Autocast(torch.float16, scale=3e4)), build(None), rtol=1e-5, atol=1e-6)
