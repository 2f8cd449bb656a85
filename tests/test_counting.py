"""The figures of the benchmarks are right on computations whose figures are known."""

from __future__ import annotations

import pytest
import torch
import torchopt
from torch.nn.functional import conv2d

import mlo
from benchmarks import where
from benchmarks.counting import Counts, counted


def test_a_gradient_by_hand():
    a, x = torch.randn(3, 3).requires_grad_(), torch.randn(3, 2)

    def act():
        return torch.autograd.grad((a @ x).tanh().sum(), a)[0]

    # mm tanh sum, ones_like (expand is a view) tanh_backward mm (t is a view)
    found, counts = counted(act)
    assert (counts.operations, counts.products, counts.syncs, counts.sweeps) == (6, 2, 0, 1)
    assert counts.with_views >= 8  # autograd detaches what it saves, as it sees fit
    torch.testing.assert_close(found, act(), rtol=0, atol=0)


def test_views_and_allocations_are_no_operations():
    def act():
        value = torch.empty(4, 6)
        return value.view(2, 12).t().reshape(24, 1), torch.empty_like(value).detach()[0], value.split([1, 5], dim=1)

    assert counted(act)[1].operations == 1  # reshape copies here


def test_convolutions_count_by_gradient():
    image, kernel = torch.randn(1, 2, 5, 5), torch.randn(3, 2, 3, 3)

    def products(*, of_image, of_kernel):
        leaves = [image.detach().requires_grad_(of_image), kernel.detach().requires_grad_(of_kernel)]
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        return counted(lambda: torch.autograd.grad(conv2d(*leaves).sum(), wanted))[1].products

    assert products(of_image=True, of_kernel=True) == 3
    assert products(of_image=False, of_kernel=True) == products(of_image=True, of_kernel=False) == 2


def test_every_look_at_a_value_is_a_sync():
    x = torch.ones(1)
    looks = [
        x.sum().item,
        lambda: float(x[0]),
        lambda: bool(x[0] > 0),
        lambda: x.tolist(),
        lambda: x.numpy(),
        x.nonzero,
    ]
    assert [counted(look)[1].syncs for look in looks] == [1] * len(looks)
    assert counted(lambda: torch.where(x > 0, x, -x).sum())[1].syncs == 0


def test_a_backward_pass_inside_another_counts():
    class Inner(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            ctx.save_for_backward(value)
            return value**2

        @staticmethod
        def backward(ctx, gradient):
            (value,) = ctx.saved_tensors
            with torch.enable_grad():
                leaf = value.detach().requires_grad_()
                (inner,) = torch.autograd.grad((leaf**2).sum(), leaf)
            assert inner.tolist()
            return gradient * inner

    x = torch.ones(2, requires_grad=True)
    counts = counted(lambda: torch.autograd.grad(Inner.apply(x).sum(), x))[1]
    assert (counts.sweeps, counts.syncs) == (2, 1)


def test_a_foreach_operation_is_one():
    values = [torch.ones(2) for _ in range(10)]
    assert counted(lambda: torch._foreach_add(values, values))[1].operations == 1


def test_memory_is_of_what_is_made():
    x = torch.ones(1000, dtype=torch.float64)
    assert counted(lambda: (x + 1) * 2, memory=True)[1].peak == 16_000
    assert counted(lambda: x + 1)[1] == Counts(1, 1, 0, 0, 0)


def test_nothing_is_left_behind():
    before = torch.Tensor.tolist, torch.Tensor.numpy, torch.autograd._engine_run_backward
    with pytest.raises(RuntimeError):
        counted(lambda: torch.ones(2) @ torch.ones(3))
    assert (torch.Tensor.tolist, torch.Tensor.numpy, torch.autograd._engine_run_backward) == before


def test_every_operation_has_a_place_in_the_library():
    def fit(v, _):
        return ((v.w["a"] - v.x) ** 2).sum() + (v.w["b"] ** 2).sum()

    upper = mlo.Problem("x", lambda v, _: v.w["a"].sum() ** 2, torch.ones(3), reads=["w"], update=torchopt.sgd(0.1))
    start = {"a": torch.zeros(3), "b": torch.ones(2)}
    lower = mlo.Problem("w", fit, start, reads=["x"], update=torchopt.sgd(0.1))
    graph = mlo.ProblemGraph([upper, lower])
    mlo.hypergradient(graph, of="x")
    counts = counted(lambda: mlo.hypergradient(graph, of="x"), memory=True)[1]
    with where.Sites() as sites:
        mlo.hypergradient(graph, of="x")
    operations = {(site, name): n for (site, name), n in sites.sites.items() if name not in ("tolist", "numpy")}
    assert sum(operations.values()) == counts.operations
    assert (
        sum(n for (site, _), n in operations.items() if site == "in a loss") == 8
    )  # sub pow sum, pow sum add; sum pow
    assert any(site.startswith("backward, ") for site, _ in operations)
    shown = where.table(lambda: mlo.hypergradient(graph, of="x"), lambda: torch.ones(2) + 1)
    assert "in a loss" in shown
    first, *places = where.memory(lambda: mlo.hypergradient(graph, of="x"), least=0.0).splitlines()
    assert first.startswith(f"{counts.peak:,} bytes")
    assert sum(int(line.split()[0].replace(",", "")) for line in places) == counts.peak
