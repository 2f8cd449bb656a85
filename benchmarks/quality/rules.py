"""Estimates of the one-step hypergradient at a point.

With g the training gradient, w' = w - rate g and v = grad_w L_valid(w'), the hypergradient is

    h = grad_a L_valid(w') - rate P v,    P v = d/da <g, v>,

and rules differ in what they take for P v.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.quality.point import Point, gradient

LENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 1e-4, 1e-5, 1e-6)
"""Of the perturbation of a finite difference."""
MEANS = ((1.0, 0.3, 0.1), (0.3, 0.1, 0.03), (0.1, 0.03, 0.01))
"""Lengths over which central differences are averaged."""
SHAKEN, DRAWS = (0.1, 0.01), 4
"""Lengths of central differences that are averaged over displaced weights, and how many displacements."""


@dataclass(frozen=True, eq=False)
class Ahead:
    """What all rules share.

    Attributes:
        point: Where.
        slope: g, (n,).
        v: (n,).
        direct: grad_a L_valid(w'), (m,).
    """

    point: Point
    slope: Tensor
    v: Tensor
    direct: Tensor
    _known: dict[tuple[float, int | None], Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, point: Point) -> Ahead:
        (slope,) = gradient(point.train, point.weights, point.alphas, "w")
        v, direct = gradient(point.valid, point.weights - point.rate * slope, point.alphas)
        return cls(point, slope, v, direct)

    def hypergradient(self, product: Tensor) -> Tensor:
        """Return h for a product P v."""
        return self.direct - self.point.rate * product

    def exact(self) -> Tensor:
        """Return P v by double backward."""
        return curvature(self.point)(self.v)[1]

    def shifted(self, shift: float, draw: int | None = None) -> Tensor:
        """Return grad_a L_train at w + shift v / |v|, and at weights displaced by |shift| at random before that."""
        if (shift, draw) not in self._known:
            at = self.point.weights + shift * self.v / self.v.norm()
            if draw is not None:
                at = at + abs(shift) * direction(at, draw)
            self._known[shift, draw] = gradient(self.point.train, at, self.point.alphas, "a")[0]
        return self._known[shift, draw]

    def central(self, length: float, draw: int | None = None) -> Tensor:
        both = self.shifted(length, draw) - self.shifted(-length, draw)
        return both * (self.v.norm() / (2 * length))

    def one_sided(self, length: float) -> Tensor:
        return (self.shifted(length) - self.shifted(0.0)) * (self.v.norm() / length)


def direction(like: Tensor, draw: int) -> Tensor:
    """Return the random unit vector number `draw`."""
    drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(draw), dtype=torch.float64)
    return (drawn / drawn.norm()).to(like)


def curvature(point: Point) -> Callable[[Tensor], list[Tensor]]:
    """Return x -> (H x, P x), the second derivatives of the training loss applied to x, by double backward."""
    leaves = [point.weights.detach().requires_grad_(), point.alphas.detach().requires_grad_()]
    (slope,) = gradient(point.train, *leaves, "w", graph=True)
    return lambda x: list(torch.autograd.grad(slope, leaves, x, retain_graph=True))


def estimates(ahead: Ahead, lengths: Sequence[float] = LENGTHS, *, more: bool = True) -> Iterator[tuple[str, Tensor]]:
    """Yield the hypergradient by each rule, "exact" first.

    Args:
        ahead: The point.
        lengths: Of finite differences.
        more: Whether to take averages and the published first order as well.
    """
    yield "exact", ahead.hypergradient(ahead.exact())
    yield "first", ahead.direct
    for length in lengths:
        yield f"central {length:g}", ahead.hypergradient(ahead.central(length))
        yield f"one-sided {length:g}", ahead.hypergradient(ahead.one_sided(length))
    if not more:
        return
    yield "first, at w", gradient(ahead.point.valid, ahead.point.weights, ahead.point.alphas, "a")[0]
    for means in MEANS:
        product = torch.stack([ahead.central(length) for length in means]).mean(0)
        yield f"mean {', '.join(f'{length:g}' for length in means)}", ahead.hypergradient(product)
    for length in SHAKEN:
        product = torch.stack([ahead.central(length, draw) for draw in range(DRAWS)]).mean(0)
        yield f"shaken {length:g}", ahead.hypergradient(product)


def seconds(ahead: Ahead) -> dict[str, float]:
    """Return the CPU seconds of the parts of a hypergradient, one after the other."""
    point = ahead.point
    parts: dict[str, Callable[[], object]] = {
        "gradient in w": lambda: gradient(point.train, point.weights, point.alphas, "w"),
        "gradient in w and alpha": lambda: gradient(point.train, point.weights, point.alphas),
        "gradient in alpha": lambda: gradient(point.train, point.weights, point.alphas, "a"),
        "gradient in w and its product": ahead.exact,
    }
    found = {}
    for name, part in parts.items():
        started = time.process_time()
        part()
        found[name] = time.process_time() - started
    return found
