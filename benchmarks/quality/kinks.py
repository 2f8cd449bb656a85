"""The kinks of a network: made smooth, or counted.

Torch's own functions are replaced while a mode is on, so that a network is measured as it is, in either of its forms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

RELU = {torch.relu, torch.relu_, functional.relu, Tensor.relu, Tensor.relu_}
POOL = {torch.max_pool2d, functional.max_pool2d}
TIE = 1e-12
"""A difference of pixels that float64 does not tell from rounding."""
LINEAR_FROM = 40.0
"""Where softplus becomes the identity: its slope jumps by e^-40 there, which float64 does not see."""


@dataclass(frozen=True)
class Shape:
    """What stands in place of ReLU and of max pooling.

    Attributes:
        beta: softplus(beta x) / beta in place of ReLU; None for ReLU itself.
        average: Whether pools take the mean in place of the maximum.
    """

    beta: float | None = None
    average: bool = False

    @property
    def title(self) -> str:
        activation = "ReLU" if self.beta is None else f"softplus {self.beta:g}"
        return f"{activation}, {'mean' if self.average else 'max'} pools"


class Shaped(TorchFunctionMode):
    """Computes with another shape while it is on."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in RELU and self.shape.beta is not None:
            return functional.softplus(args[0], self.shape.beta, LINEAR_FROM)
        if func in POOL and self.shape.average:
            return functional.avg_pool2d(*args, count_include_pad=False, **_without(kwargs))
        return func(*args, **(kwargs or {}))


class Pattern(TorchFunctionMode):
    """Writes down on which side of every kink a network is.

    Attributes:
        signs: Of the inputs of each ReLU, whether they are positive.
        winners: Of each max pool, its input, (B, C, H W), and which pixel of it is the largest, (B, C, pixels out).
    """

    def __init__(self) -> None:
        super().__init__()
        self.signs: list[Tensor] = []
        self.winners: list[tuple[Tensor, Tensor]] = []
        self._seen: dict[tuple[int, Any], Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in RELU and self._is_new(args):  # in here the mode is off: what a function calls does not come back
            self.signs.append(args[0].detach() > 0)
        elif func in POOL and self._is_new(args):
            # As indices of the whole map; -inf around it never wins.
            _, where = functional.max_pool2d_with_indices(args[0].detach(), *args[1:], **_without(kwargs))
            self.winners.append((args[0].detach().flatten(2), where.flatten(2)))
        return func(*args, **(kwargs or {}))

    def _is_new(self, args: tuple[Any, ...]) -> bool:
        """Tell whether no edge before has done the same to the same tensor, which is one kink, not two."""
        key = (id(args[0]), args[1:])
        if key in self._seen:
            return False
        self._seen[key] = args[0]  # kept alive, so that its id is not given away
        return True


def _without(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """Return the settings of a pool without those that stand at what they are if nothing is said."""
    rest = dict(kwargs or {})
    for name, usual in (("dilation", 1), ("return_indices", False)):
        if rest.pop(name, usual) != usual:
            raise ValueError(f"a pool with {name} has no counterpart here")
    return rest


def pattern(loss: Callable[[], object]) -> Pattern:
    """Return the sides on which one evaluation of a loss is."""
    seen = Pattern()
    with seen, torch.no_grad():
        loss()
    return seen


def crossed(one: Pattern, other: Pattern) -> dict[str, int]:
    """Return how many kinks lie between two patterns of the same network, and how many there are."""
    return {
        "relu": sum(int((a != b).sum()) for a, b in zip(one.signs, other.signs, strict=True)),
        "pool": sum(_won_by_another(a, b) for a, b in zip(one.winners, other.winners, strict=True)),
        "relus": sum(part.numel() for part in one.signs),
        "pools": sum(where.numel() for _, where in one.winners),
    }


def _won_by_another(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> int:
    """Count winners that changed; not those among pixels that are equal but for rounding, as in a border of zeros."""
    (values, old), (_, new) = one, other
    gap = (values.gather(2, old) - values.gather(2, new)).abs()
    return int(((old != new) & (gap > TIE)).sum())
