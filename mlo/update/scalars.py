"""Scalar settings that are tensors keep their derivative inside of code that takes them for numbers.

Optimizers hand their settings to torch as scalar arguments (`add(g, alpha=lr)`), turn them into numbers, cut state off
its history (`grad.detach()`), and skip what is multiplied by zero (`if weight_decay != 0`). In the body of these two
modes the same calls are made differentiably; a cut that cannot be mended is handed to `cut`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Cut = Callable[[Tensor, str], NoReturn]
"""Raises an error about a tensor whose derivative is lost, given what was done to it."""

_SUMS = {"add", "add_", "sub", "sub_"}
_PRODUCTS = {"addcmul", "addcmul_", "addcdiv", "addcdiv_"}
_SAYS_NONZERO = {"__eq__": False, "eq": False, "__ne__": True, "ne": True, "__gt__": True, "gt": True}
_NUMBERS = {
    torch.Tensor.__float__: "float(...)",
    torch.Tensor.__int__: "int(...)",
    torch.Tensor.tolist: ".tolist()",
    torch.Tensor.numpy: ".numpy()",
    torch.tensor: "torch.tensor(...)",
}
_CONSTANTS = {
    torch.Tensor.item: ".item()",
    torch.Tensor.detach: ".detach()",
    torch.Tensor.data.__get__: ".data",  # type: ignore[attr-defined]
}


class _Scalars(TorchFunctionMode):
    """What both modes do."""

    def __init__(self, cut: Cut | None = None) -> None:
        super().__init__()
        self._cut = cut

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        first = args[0] if args else None
        if name in _SAYS_NONZERO and self._nonzero(args):
            return torch.tensor(_SAYS_NONZERO[name])
        if func in _CONSTANTS and isinstance(first, Tensor) and first.requires_grad:
            return self._constant(first, _CONSTANTS[func])
        if func in _NUMBERS and isinstance(first, Tensor) and first.requires_grad and self._cut is not None:
            self._cut(first, _NUMBERS[func])
        if name in _SUMS and isinstance(kwargs.get("alpha"), Tensor):
            return func(first, args[1] * kwargs["alpha"])
        if name in _PRODUCTS and isinstance(kwargs.get("value"), Tensor):
            return func(first, args[1] * kwargs["value"], args[2])
        if func is torch.full_like and isinstance(args[1], Tensor):
            return torch.ones_like(first, **kwargs) * args[1].to(first)  # type: ignore[arg-type]
        return func(*args, **kwargs)

    def _nonzero(self, args: tuple[Any, ...]) -> bool:
        """Tell whether a comparison is one of a setting with zero."""
        # Where the derivative is asked for, a weight decay of zero is a weight decay.
        left, right = args
        return isinstance(left, Tensor) and isinstance(right, int | float) and right == 0 and self._is_setting(left)

    def _is_setting(self, value: Tensor) -> bool:
        raise NotImplementedError

    def _constant(self, value: Tensor, how: str) -> Any:
        raise NotImplementedError


class Making(_Scalars):
    """For the making of an update from tensors: every scalar that has a derivative is a setting."""

    def _is_setting(self, value: Tensor) -> bool:
        return value.requires_grad and value.numel() == 1

    def _constant(self, value: Tensor, how: str) -> Any:
        # Here it is the user who cuts, and who is to know.
        if self._cut is not None:
            self._cut(value, how)
        return value


class Stepping(_Scalars):
    """For a step of an optimizer with `settings` among its scalars; what it would cut stays connected."""

    def __init__(self, settings: Collection[Any] = (), cut: Cut | None = None) -> None:
        """Know the settings by identity: other scalars, such as entries of a variable, may well be compared to zero."""
        super().__init__(cut)
        self._settings = {id(value) for value in settings if isinstance(value, Tensor) and value.requires_grad}

    def _is_setting(self, value: Tensor) -> bool:
        return id(value) in self._settings

    def _constant(self, value: Tensor, how: str) -> Any:
        return value
