"""Keep nothing, and carry derivatives along with the steps."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from mlo.autodiff import named_vjp, vjp
from mlo.flat import Flat
from mlo.hypergradient.base import Point, Trace
from mlo.hypergradient.marks import Mark, check_again, walk
from mlo.hypergradient.memory import AbstractMemory, AbstractTape, Course
from mlo.hypergradient.second_order import Exact
from mlo.hypergradient.step import GRADIENT, OWN, STATE, Step, begun, record_step
from mlo.rng import replayed
from mlo.update import split_state
from mlo.vector import Params, Values, tensors

log = logging.getLogger("mlo")

MANY = 100
Direction = list[Tensor | None]
"""One tensor for each vector of a value, or for each tensor of a state; None for zero."""


@dataclass(frozen=True)
class Forward(AbstractMemory):
    """Keep only the start; the pullback makes the steps again with a tangent for each scalar of the inputs.

    With (x_{t+1}, s_{t+1}) = U(x_t, G(x_t, z), s_t, z), the tangents of z_i obey

        d(x_{t+1}, s_{t+1})/dz_i = dU/d(x, s) . d(x_t, s_t)/dz_i + dU/dg . dG/d(x, z) . (dx_t/dz_i, e_i) + dU/dz . e_i.

    Memory does not grow with the number of steps; it and time grow with the number of scalars in all inputs that the
    gradient is wanted for: a tangent as large as variable and optimizer state, and two to three gradients in every
    step, for each. Above 100 of them this is logged, as `Recompute` is then faster. Needs `Exact` products, and a loss
    that gives the same number again, as `Recompute` does.

    Source: Forward and Reverse Gradient-Based Hyperparameter Optimization (Franceschi et al., 2017), algorithm 2.
    """

    exact_only: ClassVar[bool] = True

    def solve(self, course: Course) -> Trace:
        """Make the steps."""
        end, found, marks = walk(course, max(course.steps, 1))
        return found.trace(end.params, end, _Start(course, marks))


@dataclass(frozen=True, eq=False)
class _Start(AbstractTape):
    course: Course
    marks: list[Mark]

    def pull(self, cotangent: Params, wanted: Sequence[str], *, differentiable: bool) -> dict[str, Params]:
        """Make the steps again with tangents, and weigh these by the cotangent."""
        tangents = [tangent for name in wanted for tangent in _tangents(name, self.course.others[name])]
        if len(tangents) > MANY:
            _warn(self.course.node.name, len(tangents))
        _start(self.course, tangents)
        for mark in self.marks:
            point = mark.point
            with replayed(mark.random):
                for index in range(mark.steps):
                    point = _pushed(self.course, point, wanted, tangents, mark if index == 0 else None)
        return _weighed(tangents, self.course.others, Flat.of(cotangent).vectors)


@dataclass(eq=False)
class _Tangent:
    """The derivatives of variable and optimizer state with respect to entry `index` of tensor `key` of `name`."""

    name: str
    key: str
    index: int
    own: Direction
    state: Direction

    def seed(self, params: Params) -> Direction:
        """Return the direction of the entry itself, in the problem whose value is `params`."""
        flat = Flat.of(params)
        which, start = flat.layout.starts[self.key]
        unit = torch.zeros_like(flat.vectors[which])
        unit[start + self.index] = 1.0
        return [unit if place == which else None for place in range(len(flat.vectors))]


def _tangents(name: str, params: Params) -> Iterator[_Tangent]:
    for key, value in params.items():
        yield from (_Tangent(name, key, index, [], []) for index in range(value.numel()))


def _start(course: Course, tangents: Sequence[_Tangent]) -> None:
    """Give each tangent the derivative of the start, where that was handed over."""
    begin = begun(course.node, course.others, course.handed, differentiable=False)
    if begin is None:
        return
    dummy = _dummies(begin.params)
    found = named_vjp(list(begin.params.vectors), begin.others, list(dummy.vectors), differentiable=True)
    start = _Map(dummy.vectors, {name: Flat.of(value).vectors for name, value in found.items()})
    for tangent in tangents:
        if tangent.name in course.handed:
            tangent.own = start({tangent.name: tangent.seed(course.others[tangent.name])})


def _pushed(
    course: Course, point: Point, wanted: Sequence[str], tangents: Sequence[_Tangent], mark: Mark | None
) -> Point:
    """Make one step from `point` and move the tangents along with it."""
    node, others = course.node, course.others
    # The products have to be differentiable, in the vector: see _Map.
    linearization = Exact().linearize(node, point, others, differentiable=True)
    step = record_step(node, point, linearization, others, differentiable=False)
    if mark is not None:
        check_again(node.name, mark, linearization.seen.loss)
    gradient, update = _gradient_map(step, node.name, wanted), _update_map(step)
    count = len(Flat.of(step.params).vectors)
    for tangent in tangents:
        seed = {tangent.name: tangent.seed(others[tangent.name])}
        moved = gradient({node.name: tangent.own, **seed})
        known = {_leaf(OWN): tangent.own, _leaf(GRADIENT): moved, _leaf(STATE): tangent.state}
        found = update(known | {_other(name): direction for name, direction in seed.items()})
        tangent.own, tangent.state = found[:count], found[count:]
    return step.end


class _Map:
    """t -> J t, from the transposed product u -> J^T u.

    J^T u is linear in u, so that its own transposed product with t, taken in u, is J t. Both are reverse sweeps: all
    that a hypergradient goes through has them, which cannot be said of forward-mode rules.
    """

    def __init__(self, outputs: Sequence[Tensor], transposed: Mapping[str, Sequence[Tensor]]) -> None:
        """Take the dummies u and J^T u by name of the input."""
        self._outputs, self._transposed = outputs, transposed

    def __call__(self, directions: Mapping[str, Direction]) -> Direction:
        """Return J t; a name or tensor without a direction counts as zero."""
        rows, weights = list[Tensor](), list[Tensor]()
        for name, direction in directions.items():
            if name in self._transposed and direction:
                for row, weight in zip(self._transposed[name], direction, strict=True):
                    if weight is not None:
                        rows.append(row)
                        weights.append(weight)
        return vjp(rows, self._outputs, weights, retain=True)


def _gradient_map(step: Step, name: str, wanted: Sequence[str]) -> _Map:
    dummy = _dummies(step.linearization.gradient)
    found = step.linearization.product(dummy, (name, *wanted))
    return _Map(dummy.vectors, {name: Flat.of(value).vectors for name, value in found.items()})


def _update_map(step: Step) -> _Map:
    dummy = _dummies(step.params)
    state = [torch.zeros_like(value).requires_grad_() for value in split_state(step.state)[0]]
    own, read = step.pull(dummy, state, differentiable=True)
    # A state has no vectors: each of its tensors is for itself.
    found = {_leaf(k): tensors(value) if k == STATE else Flat.of(value).vectors for k, value in own.items()}
    found |= {_other(name): Flat.of(value).vectors for name, value in read.items()}
    return _Map([*dummy.vectors, *state], found)


def _leaf(name: str) -> str:
    return f"leaf {name}"


def _other(name: str) -> str:
    return f"other {name}"


def _dummies(params: Params) -> Flat:
    flat = Flat.of(params)
    return Flat(flat.layout, vectors=[torch.zeros_like(vector).requires_grad_() for vector in flat.vectors])


def _weighed(tangents: Sequence[_Tangent], others: Values, cotangent: Sequence[Tensor]) -> dict[str, Params]:
    """Return <cotangent, tangent> in the place of each tangent's scalar; what nothing depends on is left out."""
    parts: dict[str, Flat] = {}
    for tangent in tangents:
        pairs = [(c, t) for c, t in zip(cotangent, tangent.own, strict=False) if t is not None]
        if pairs:
            read = Flat.of(others[tangent.name])
            zero = [torch.zeros_like(vector, requires_grad=False) for vector in read.vectors]
            part = parts.setdefault(tangent.name, Flat(read.layout, vectors=zero))
            which, start = read.layout.starts[tangent.key]
            part.vectors[which][start + tangent.index] = sum((c * t).sum() for c, t in pairs)
    return dict(parts)


@cache
def _warn(name: str, count: int) -> None:
    """Say it once, not in every step of an engine."""
    log.warning("problem %r: Forward carries %d tangents through every step: mlo.Recompute() is faster", name, count)
