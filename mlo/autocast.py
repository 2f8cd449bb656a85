"""A loss in lower precision; everything around it stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import batch_norm, instance_norm
from torch.overrides import TorchFunctionMode

from mlo.checks import check_positive
from mlo.errors import ConfigError

_SCALES = {torch.bfloat16: 1.0, torch.float16: 4096.0}
_FULL: ContextVar[bool] = ContextVar("mlo_full_precision", default=False)


@dataclass(frozen=True)
class Autocast:
    """Evaluates a loss, its gradient and its exact second-order products under `torch.autocast`.

    Variables, buffers such as BatchNorm's statistics, gradients, products, linear solves and updates stay float32, and
    are never scaled where anybody sees them. Tensors of float64 are not touched by autocast. What divides a difference
    of gradients by something small (`FiniteDifference`, `Penalty`) takes those gradients in full precision: in the
    eight bits of bfloat16, a perturbation of DARTS's length is mostly rounding.

    float16 ends at 6e-8, where gradients go on. So the loss is multiplied by `scale` before it is differentiated, and
    the gradient is divided by it afterwards. In a second-order product with v, v/|v| goes through the backward pass in
    place of v, and the result is multiplied by |v|; likewise in derivatives of any higher order. The scale is not
    adapted: a gradient that overflows raises `DivergenceError` with the problem's name and its scale, and the step
    changes nothing.

    Attributes:
        dtype: torch.bfloat16 or torch.float16.
        scale: What the loss is multiplied by; None for 1 with bfloat16 and 4096 with float16.

    Raises:
        ConfigError: If `dtype` is another one, or `scale` is not positive.

    Source: Mixed Precision Training (Micikevicius et al., 2018), section 3, scales the loss of a first-order gradient.

    Examples:
        >>> import mlo, torch, torchopt
        >>> loss = lambda v, x: (v.w @ x).float().square().mean()
        >>> w = mlo.Problem("w", loss, torch.ones(1, 4), batches=[torch.ones(4, 1)],
        ...                 precision=mlo.Autocast(torch.bfloat16))
        >>> mlo.hypergradient(mlo.ProblemGraph([w]), of="w").dtype  # the gradient stays float32
        torch.float32
    """

    dtype: torch.dtype
    scale: float | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        if not isinstance(self.dtype, torch.dtype) or self.dtype not in _SCALES:
            raise ConfigError(f"Autocast: dtype must be torch.bfloat16 or torch.float16, got {self.dtype!r}")
        if self.scale is not None:
            check_positive("Autocast", "scale", self.scale)

    @property
    def factor(self) -> float:
        """What the loss is multiplied by."""
        return _SCALES[self.dtype] if self.scale is None else float(self.scale)


@contextmanager
def full_precision() -> Iterator[None]:
    """Let every loss in the body be evaluated in the precision of its variables."""
    token = _FULL.set(True)
    try:
        yield
    finally:
        _FULL.reset(token)


def present_precision(declared: Autocast | None) -> Autocast | None:
    """Return what a problem declares, unless full precision is asked for."""
    return None if _FULL.get() else declared


class _WideNorms(TorchFunctionMode):
    """Normalizes over a batch in float32.

    What torch differentiates it twice by multiplies by the number of pixels in the batch, and float16 ends at 65504.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in (batch_norm, instance_norm):
            x = args[0] if args else kwargs.pop("input")
            args = [x.float() if x.dtype == torch.float16 else x, *args[1:]]
        return func(*args, **kwargs)


@contextmanager
def lowered(precision: Autocast | None, device: str, *, differentiable: bool) -> Iterator[None]:
    """Compute the body in a precision; as it is for None.

    Args:
        precision: Which.
        device: The type of device.
        differentiable: Whether gradients of what is computed will be differentiated.

    Raises:
        ConfigError: If there is no autocast on that device.
    """
    if precision is None:
        yield
        return
    if not torch.amp.is_autocast_available(device):
        raise ConfigError(f"Autocast: torch has none for the device {device!r}: give precision=None there")
    # Without its cache of weights: a loss that calls one under `no_grad` first would leave a copy without history.
    norms = _WideNorms() if differentiable and precision.dtype == torch.float16 else nullcontext()
    with torch.autocast(device, precision.dtype, cache_enabled=False), norms:
        yield
