"""A remembered signature, for functions whose signature torch looks up on every call."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeVar

_Function = TypeVar("_Function", bound=Callable[..., object])


def remembered(function: _Function) -> _Function:
    """Remember the signature of a function, where `inspect.signature` finds it.

    `torch.autograd.Function.apply` asks for that of `forward` on every call, which takes longer than some of the
    convolutions here.
    """
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return function
