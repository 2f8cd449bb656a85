"""Two conjugate operations: what lies between them is each rank's own, what lies outside is the same on all.

    fork:  forward the identity, backward the sum over ranks, scaled
    join:  forward the sum over ranks, scaled, backward the identity

Each is the other's derivative, so that any derivative of a function between them, of any order, comes out as that of
the sum over ranks. That is how a hypergradient of shared batches is exact: each gradient *and* each second-order
product is summed, where wrappers that hook into `backward` sum the first alone, or nothing.

Source: Megatron-LM: Training Multi-Billion Parameter Language Models Using Model Parallelism (Shoeybi et al., 2019),
section 3, has such a pair for first derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Reduce = Callable[[Sequence[Tensor]], list[Tensor]]


def fork(reduce: Reduce, values: Sequence[Tensor]) -> list[Tensor]:
    """Return the values; `reduce` acts on cotangents on them."""
    return list(_Fork.apply(reduce, *values))  # type: ignore[no-untyped-call]


def join(reduce: Reduce, values: Sequence[Tensor]) -> list[Tensor]:
    """Return `reduce` of the values; cotangents pass through."""
    return list(_Join.apply(reduce, *values))  # type: ignore[no-untyped-call]


def total(reduce: Reduce, values: Sequence[Tensor]) -> list[Tensor]:
    """Return `reduce` of values between fork and join, where it is its own derivative."""
    return fork(reduce, join(reduce, values))  # forward the one, backward the other


class _Fork(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, reduce: Reduce, *values: Tensor) -> tuple[Tensor, ...]:
        ctx.reduce = reduce
        return tuple(value.view_as(value) for value in values)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        return None, *join(ctx.reduce, cotangents)


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, reduce: Reduce, *values: Tensor) -> tuple[Tensor, ...]:
        ctx.reduce = reduce
        return tuple(reduce(values))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        return None, *fork(ctx.reduce, cotangents)
