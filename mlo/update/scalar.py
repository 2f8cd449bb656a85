"""A number that has a derivative, inside of code that takes it for a plain number."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import optree
import torch
from torch import Tensor

_SUMS = {"add", "add_", "sub", "sub_"}
_PRODUCTS = {"addcmul", "addcmul_", "addcdiv", "addcdiv_"}


def _arithmetic(operation: Callable[[Any, Any], Any], *, swapped: bool = False) -> Any:
    def method(self: Scalar, other: Any) -> Any:
        left, right = self.tensor, other.tensor if isinstance(other, Scalar) else other
        result = operation(right, left) if swapped else operation(left, right)
        return result if isinstance(other, Tensor) else Scalar(result)

    return method


def _comparison(operation: Callable[[Any, Any], bool], at_zero: Callable[[float], bool] | None = None) -> Any:
    def method(self: Scalar, other: Any) -> Any:
        if isinstance(other, Tensor):
            return operation(self.tensor, other)
        value, other = (float(side.tensor.data) if isinstance(side, Scalar) else side for side in (self, other))
        return at_zero(value) if at_zero is not None and other == 0 else operation(value, other)

    return method


class Scalar:
    """A tensor of one entry in the part of a float.

    Optimizers pass their settings to torch as scalar arguments (`p.add_(g, alpha=lr)`), where torch takes no tensor
    that has a derivative, and skip what they would multiply by zero (`if weight_decay != 0`), where the derivative is
    not zero. A `Scalar` is taken for a float by either; torch hands each call with one to `__torch_function__`.

    Args:
        tensor: The number.
    """

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        """Stand for `tensor`."""
        self.tensor = tensor.reshape(())

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Make a call of torch with the scalar as a factor where it was one as a number, else as the tensor it is."""
        given: Any = (args, kwargs or {})
        opened: Any = optree.tree_map(_opened, given, none_is_leaf=True)
        (first, *rest), named = opened
        name = getattr(func, "__name__", "")
        # Copies, since what is multiplied may be changed in place before the product is differentiated.
        if name in _SUMS and "alpha" in named:
            return func(first, rest[0].clone() * named["alpha"])
        if name in _PRODUCTS and "value" in named:
            return func(first, rest[0].clone() * named["value"], rest[1])
        if name in ("lerp", "lerp_"):
            return func(first, rest[0], rest[1].to(first))
        if name in ("clamp", "clamp_"):  # it takes either two numbers or two tensors
            return func(first, *(torch.as_tensor(limit).to(first) for limit in rest))
        if func is torch.full_like:
            return torch.ones_like(first, **named) * rest[0].to(first)
        return func(first, *rest, **named)

    __add__, __radd__ = _arithmetic(operator.add), _arithmetic(operator.add, swapped=True)
    __sub__, __rsub__ = _arithmetic(operator.sub), _arithmetic(operator.sub, swapped=True)
    __mul__, __rmul__ = _arithmetic(operator.mul), _arithmetic(operator.mul, swapped=True)
    __truediv__, __rtruediv__ = _arithmetic(operator.truediv), _arithmetic(operator.truediv, swapped=True)
    __pow__, __rpow__ = _arithmetic(operator.pow), _arithmetic(operator.pow, swapped=True)

    # What is multiplied by zero is not to be skipped.
    __eq__ = _comparison(operator.eq, lambda value: False)
    __ne__ = _comparison(operator.ne, lambda value: True)
    __gt__ = _comparison(operator.gt, lambda value: value >= 0)
    __ge__, __lt__, __le__ = _comparison(operator.ge), _comparison(operator.lt), _comparison(operator.le)

    __hash__ = object.__hash__

    def __neg__(self) -> Scalar:
        return Scalar(-self.tensor)

    def __bool__(self) -> bool:
        return True

    def __float__(self) -> float:
        raise TypeError("a setting that is learned was made a plain number, which has no derivative")


def _opened(value: Any) -> Any:
    return value.tensor if isinstance(value, Scalar) else value


def closed(value: Any) -> Any:
    """Return a tensor of one entry that has a derivative as a `Scalar`, also inside of a tuple; others as they are."""
    if not has_derivative(value):
        return value
    return tuple(closed(part) for part in value) if isinstance(value, tuple) else Scalar(value)


def has_derivative(value: Any) -> bool:
    """Tell whether a setting is, or holds, a tensor of one entry that has a derivative."""
    if isinstance(value, tuple):
        return any(has_derivative(part) for part in value)
    return isinstance(value, Tensor) and value.requires_grad and value.numel() == 1
