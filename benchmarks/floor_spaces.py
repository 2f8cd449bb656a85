"""Three ways to hold the weights of the hand-written versions, each with the least algebra that it can do with.

A point is whatever a space holds: a list of tensors, or one vector. Numbers are floats or tensors of no dimensions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Tensors = Sequence[Tensor]
Number = float | Tensor


class Space(ABC):
    """A way to hold a list of tensors of the shapes of `example`."""

    def __init__(self, example: Tensors) -> None:
        self.shapes = [value.shape for value in example]
        self.sizes = [value.numel() for value in example]

    @abstractmethod
    def gather(self, tensors: Tensors) -> Any:
        """Return the point of these tensors."""

    @abstractmethod
    def views(self, point: Any) -> list[Tensor]:
        """Return the tensors of a point, differentiable in it."""

    @abstractmethod
    def axpy(self, a: Number, x: Any, y: Any) -> Any:
        """Return y + a x."""

    @abstractmethod
    def scaled(self, a: Number, x: Any) -> Any:
        """Return a x."""

    @abstractmethod
    def dot(self, x: Any, y: Any) -> Tensor:
        """Return the inner product."""

    @abstractmethod
    def split(self, x: Any, first: int) -> tuple[Any, Any]:
        """Return the part of a point that is in its `first` tensors, and the rest; what is done in place shows in x."""

    @abstractmethod
    def mul_(self, x: Any, a: float) -> None:
        """Multiply in place."""

    @abstractmethod
    def add_(self, x: Any, y: Any, a: float) -> None:
        """Add a y in place."""

    @abstractmethod
    def lerp_(self, x: Any, y: Any, share: float) -> None:
        """Move x in place towards y by `share` of the way."""

    def norm(self, x: Any) -> Tensor:
        """Return the Euclidean norm."""
        return self.dot(x, x).sqrt()

    def leaves(self, point: Any) -> list[Tensor]:
        """Return the tensors of a point as ends of a graph to come."""
        return [value.detach().requires_grad_() for value in self.views(point)]


class Each(Space):
    """A list, one operation for each tensor: what most code does."""

    def gather(self, tensors: Tensors) -> Any:
        return list(tensors)

    def views(self, point: Any) -> list[Tensor]:
        return point

    def axpy(self, a: Number, x: Any, y: Any) -> Any:
        if isinstance(a, Tensor):
            return [torch.addcmul(v, u, a) for u, v in zip(x, y, strict=True)]
        return [torch.add(v, u, alpha=a) for u, v in zip(x, y, strict=True)]

    def scaled(self, a: Number, x: Any) -> Any:
        return [a * u for u in x]

    def dot(self, x: Any, y: Any) -> Tensor:
        return torch.stack([torch.dot(u.reshape(-1), v.reshape(-1)) for u, v in zip(x, y, strict=True)]).sum()

    def split(self, x: Any, first: int) -> tuple[Any, Any]:
        return x[:first], x[first:]

    def mul_(self, x: Any, a: float) -> None:
        for value in x:
            value.mul_(a)

    def add_(self, x: Any, y: Any, a: float) -> None:
        for value, other in zip(x, y, strict=True):
            value.add_(other, alpha=a)

    def lerp_(self, x: Any, y: Any, share: float) -> None:
        for value, other in zip(x, y, strict=True):
            value.lerp_(other, share)


class Foreach(Each):
    """A list, and torch's operations on lists."""

    def axpy(self, a: Number, x: Any, y: Any) -> Any:
        if isinstance(a, Tensor):
            return list(torch._foreach_add(y, torch._foreach_mul(x, a)))
        return list(torch._foreach_add(y, x, alpha=a))

    def scaled(self, a: Number, x: Any) -> Any:
        return list(torch._foreach_mul(x, a))

    def norm(self, x: Any) -> Tensor:
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(x)))

    def mul_(self, x: Any, a: float) -> None:
        torch._foreach_mul_(x, a)

    def add_(self, x: Any, y: Any, a: float) -> None:
        torch._foreach_add_(x, y, alpha=a)

    def lerp_(self, x: Any, y: Any, share: float) -> None:
        torch._foreach_lerp_(x, y, share)


class Flat(Space):
    """One vector, and views of it."""

    def gather(self, tensors: Tensors) -> Any:
        return torch.cat([value.reshape(-1) for value in tensors])

    def views(self, point: Any) -> list[Tensor]:
        pieces = torch.split(point, self.sizes)
        return [piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]

    def axpy(self, a: Number, x: Any, y: Any) -> Any:
        return torch.addcmul(y, x, a) if isinstance(a, Tensor) else torch.add(y, x, alpha=a)

    def scaled(self, a: Number, x: Any) -> Any:
        return a * x

    def dot(self, x: Any, y: Any) -> Tensor:
        return torch.dot(x, y)

    def norm(self, x: Any) -> Tensor:
        return torch.linalg.vector_norm(x)

    def split(self, x: Any, first: int) -> tuple[Any, Any]:
        size = sum(self.sizes[:first])
        return x[:size], x[size:]

    def mul_(self, x: Any, a: float) -> None:
        x.mul_(a)

    def add_(self, x: Any, y: Any, a: float) -> None:
        x.add_(y, alpha=a)

    def lerp_(self, x: Any, y: Any, share: float) -> None:
        x.lerp_(y, share)

    def leaves(self, point: Any) -> list[Tensor]:
        return [view.requires_grad_() for view in self.views(point.detach())]


SPACES: dict[str, type[Space]] = {"each": Each, "foreach": Foreach, "flat": Flat}
