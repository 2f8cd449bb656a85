"""The three calls of autograd that everything else is made of: cut, gradient, and vector-Jacobian product.

`differentiable=True` means that the result must itself be differentiable: needed when a problem's gradient is part of
another problem's solution, and only then.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from mlo.flat import Flat
from mlo.vector import Params

Key = TypeVar("Key", bound=Hashable)


def cut_tensor(value: Tensor, *, differentiable: bool) -> Tensor:
    """Return `value` as a point with respect to which one can differentiate, seeing nothing of what came before it.

    When the result must be differentiable, the point stays connected to its history: it is an alias (a view), so that
    a gradient *with respect to* the alias is a partial derivative while a gradient *through* it is not lost.
    """
    if differentiable and value.requires_grad:
        return value.view_as(value)
    return value.detach().requires_grad_()


def cut(params: Params, *, differentiable: bool) -> Flat:
    """Do as `cut_tensor` does with a value of several tensors."""
    return Flat.of(params).cut(differentiable=differentiable)


def vjp(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    *,
    differentiable: bool = False,
    retain: bool = False,
) -> list[Tensor | None]:
    """Return sum_i cotangents_i * d outputs_i / d inputs, None where there is no dependence.

    Args:
        outputs: Tensors; those that depend on nothing differentiable are passed over.
        inputs: Tensors that require a gradient.
        cotangents: One for each output, of its shape.
        differentiable: Record the product itself.
        retain: Keep the graph of `outputs` for another product.

    Returns:
        One tensor or None for each input.
    """
    pairs = [(out, cot) for out, cot in zip(outputs, cotangents, strict=True) if out.requires_grad]
    if not pairs or not inputs:
        return [None] * len(inputs)
    return list(
        torch.autograd.grad(
            [out for out, _ in pairs],
            list(inputs),
            [cot for _, cot in pairs],
            create_graph=differentiable,
            retain_graph=retain or differentiable,
            allow_unused=True,
        )
    )


def named_vjp(
    outputs: Sequence[Tensor],
    inputs: Mapping[Key, Flat],
    cotangents: Sequence[Tensor],
    *,
    differentiable: bool = False,
    retain: bool = False,
) -> dict[Key, Params]:
    """Apply `vjp` with inputs in groups; a group on which nothing depends is left out.

    Returns:
        For each group with any dependence, a cotangent shaped as its value (zero where a tensor is unused).
    """
    roots = {name: params.roots for name, params in inputs.items()}
    flat = [value for values in roots.values() for value in values]
    found = vjp(outputs, flat, cotangents, differentiable=differentiable, retain=retain)
    result: dict[Key, Params] = {}
    position = 0
    for name, values in roots.items():
        part = found[position : position + len(values)]
        position += len(values)
        if any(value is not None for value in part):
            result[name] = inputs[name].filled(part)
    return result
