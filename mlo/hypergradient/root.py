"""The implicit function theorem, to any order.

A root x(z) of r(x, z) = 0 has the pullback

    c  ->  - u . dr/dz   with   (dr/dx)^T u = c.

The adjoint u is itself the root of a linear equation in (c, x, z), so the same statement differentiates it again: this
is what makes hypergradients of nested implicit problems exact.

Source: Efficient and Modular Implicit Differentiation (Blondel et al., 2022), section 2.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from mlo.autodiff import cut_tensor, vjp
from mlo.linear.base import LinearSolution, Matvec

Residual = Callable[..., Tensor]
"""(x, *z) -> r(x, z): all vectors; differentiable in each argument."""


class Solve(Protocol):
    """Solves A u = c from products with A, beginning at `start` if that is known."""

    def __call__(self, matvec: Matvec, cotangent: Tensor, *, start: Tensor | None = None) -> LinearSolution:
        """Return the solution and its report."""


def root_vjp(
    residual: Residual,
    solve: Solve,
    x: Tensor,
    inputs: tuple[Tensor, ...],
    cotangent: Tensor,
    *,
    start: Tensor | None = None,
    differentiable: bool,
) -> tuple[list[Tensor | None], LinearSolution]:
    """Pull a cotangent on a root back to the inputs.

    Args:
        residual: r.
        solve: Solves (dr/dx)^T u = c from products with (dr/dx)^T.
        x: The root, a vector.
        inputs: z, tensors of any shape.
        cotangent: c, shaped as x.
        start: Where the solve for u starts.
        differentiable: Whether the result is itself to be differentiable in c, x and z.

    Returns:
        One cotangent (or None) for each input, and the linear solve's report.
    """
    with torch.enable_grad():
        at = cut_tensor(x, differentiable=differentiable)
        leaves = [cut_tensor(value, differentiable=differentiable) for value in inputs]
        value = residual(at, *leaves)

    def transposed_product(v: Tensor) -> Tensor:
        (product,) = vjp([value], [at], [v], retain=True)
        return torch.zeros_like(v) if product is None else product.detach()

    solution = solve(transposed_product, cotangent.detach(), start=start)
    adjoint = solution.value
    if differentiable:
        adjoint = attach_root(_adjoint_equation(residual), solve, adjoint, (cotangent, x, *inputs))
    return vjp([value], leaves, [-adjoint], differentiable=differentiable), solution


def attach_root(residual: Residual, solve: Solve, root: Tensor, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return the number `root` as a function of `inputs`, differentiable to any order."""
    return cast(Tensor, _Root.apply(residual, solve, root, *inputs))  # type: ignore[no-untyped-call]


def _adjoint_equation(residual: Residual) -> Residual:
    """Return (u, c, x, *z) -> (dr/dx)^T u - c."""

    def equation(u: Tensor, c: Tensor, x: Tensor, *inputs: Tensor) -> Tensor:
        at = x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
        (product,) = vjp([residual(at, *inputs)], [at], [u], differentiable=True)
        return (torch.zeros_like(u) if product is None else product) - c

    return equation


class _Root(torch.autograd.Function):
    """A constant vector that autograd differentiates as the root that it is."""

    @staticmethod
    def forward(ctx: Any, residual: Residual, solve: Solve, root: Tensor, *inputs: Tensor) -> Tensor:
        ctx.residual, ctx.solve = residual, solve
        value = root.detach().clone()
        ctx.save_for_backward(value, *inputs)
        return value

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        root, *inputs = ctx.saved_tensors
        differentiable = torch.is_grad_enabled()
        parts, _ = root_vjp(ctx.residual, ctx.solve, root, tuple(inputs), cotangents[0], differentiable=differentiable)
        return None, None, None, *parts
