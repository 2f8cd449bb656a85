"""Two modes in which torch's calls neither lose the derivative of a setting nor of a state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mlo.update.scalar import Scalar

Cut = Callable[[Tensor, str], NoReturn]
"""Raises an error about a tensor whose derivative is lost, given what was done to it."""

_UNEQUAL = {"__eq__": False, "eq": False, "__ne__": True, "ne": True}
_CUTS = {
    torch.Tensor.__float__: "float(...)",
    torch.Tensor.__int__: "int(...)",
    torch.Tensor.item: ".item()",
    torch.Tensor.tolist: ".tolist()",
    torch.Tensor.numpy: ".numpy()",
    torch.Tensor.detach: ".detach()",
    torch.Tensor.data.__get__: ".data",  # type: ignore[attr-defined]
    torch.tensor: "torch.tensor(...)",
}


class Making(TorchFunctionMode):
    """For the making of an update from tensors that have a derivative.

    Nothing is taken for zero (a weight decay of zero is a weight decay, where its derivative is asked for), and what
    would cut the derivative is an error.

    Args:
        cut: Raises that error.
    """

    def __init__(self, cut: Cut) -> None:
        """Keep what raises."""
        super().__init__()
        self._cut = cut

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Make a call, if it keeps the derivative of its arguments."""
        first = args[0] if args else None
        if not torch.is_grad_enabled():
            result = func(*args, **(kwargs or {}))
            lost = next((value for value in args if isinstance(value, Tensor) and value.requires_grad), None)
            if lost is not None and isinstance(result, Tensor) and result.is_floating_point():
                self._cut(lost, "torch.no_grad()")
            return result
        if isinstance(first, Tensor) and first.requires_grad:
            if func in _CUTS:
                self._cut(first, _CUTS[func])
            name = getattr(func, "__name__", "")
            if name in _UNEQUAL and first.numel() == 1 and isinstance(args[1], int | float) and args[1] == 0:
                return torch.tensor(_UNEQUAL[name])
        return func(*args, **(kwargs or {}))


class Stepping(TorchFunctionMode):
    """For a step of a torch.optim optimizer: what it takes off its history, or makes a number of, stays connected.

    SGD starts its momentum from `grad.detach()`, and ASGD keeps its step size in a tensor that it makes a number of.
    """

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Make a call without a cut."""
        first = args[0] if args else None
        if isinstance(first, Tensor) and first.requires_grad:
            if func is torch.Tensor.item:
                return Scalar(first.clone())
            if func is torch.Tensor.detach:
                return first
        if getattr(func, "__name__", "") == "mul_" and isinstance(args[1], Tensor) and args[1].dim() == 0:
            return func(first, args[1].clone())  # a factor that is changed afterwards: ASGD's mu
        if func is torch.as_tensor:
            dtype = (kwargs or {}).get("dtype", torch.float64)  # not the default type: ASGD rounds its step size so
            return first.tensor.to(dtype) if isinstance(first, Scalar) else torch.as_tensor(first, dtype=dtype)
        return func(*args, **(kwargs or {}))
