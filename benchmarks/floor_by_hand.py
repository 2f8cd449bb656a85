"""The least that each rule takes: autograd and the algebra of a space, written for one problem at a time.

Each rule starts from (weights, momentum, upper variable) and returns the hypergradient, and where the weights ended.
Nothing is checked, reported or counted. The mathematics is that of `mlo`, to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import grad

from benchmarks.floor_problems import LR, MOMENTUM, UPPER_LR, Loss, Task
from benchmarks.floor_spaces import Space

EPSILON = 0.01  # DARTS's length of the finite difference
SOLVER_STEPS = 5
NEUMANN_STEP = LR


class State(NamedTuple):
    """Where a problem stands: points of a space, and the upper variable."""

    weights: Any
    momentum: Any
    upper: Tensor


def start(task: Task, space: Space) -> State:
    weights = space.gather(task.start)
    return State(weights, space.scaled(0.0, weights), task.upper.clone())


def train(task: Task, space: Space, at: State) -> State:
    """One step of SGD with momentum."""
    leaves = space.leaves(at.weights)
    gradient = space.gather(grad(task.fit(leaves, at.upper), leaves))
    momentum = space.axpy(MOMENTUM, at.momentum, gradient)
    return State(space.axpy(-LR, momentum, at.weights), momentum, at.upper)


def look(task: Task, space: Space, at: State) -> tuple[Any, Tensor]:
    """Return the gradient of the upper loss in the weights and, where there is one, directly in the upper variable."""
    leaves, x = space.leaves(at.weights), at.upper.detach().requires_grad_()
    *parts, direct = grad(task.validate(leaves, x), [*leaves, x], allow_unused=True)
    return space.gather(parts), direct


def plus(direct: Tensor | None, through: Tensor) -> Tensor:
    return through if direct is None else direct + through


def gap(loss: Loss, space: Space, weights: Any, upper: Tensor, v: Any) -> Tensor:
    """Return d/dx <grad_w loss, v> by a central difference over steps of length EPSILON."""
    size = space.norm(v)
    shift, found = EPSILON / size, []
    for signed in (shift, -shift):
        x = upper.detach().requires_grad_()
        found += grad(loss(space.views(space.axpy(signed, v, weights)), x), x)
    return (found[0] - found[1]) * (size / (2 * EPSILON))


def difference(task: Task, space: Space, at: State) -> tuple[Tensor, State]:
    """One step of SGD with momentum, differentiated by a finite difference: DARTS, second order."""
    end = train(task, space, at)
    cotangent, direct = look(task, space, end)
    return plus(direct, -LR * gap(task.fit, space, at.weights, at.upper, cotangent)), end


def implicit(solve: Callable[..., Any]) -> Callable[..., tuple[Tensor, State]]:
    """The implicit function theorem where one step ended, with H u = c solved by `solve`."""

    def rule(task: Task, space: Space, at: State) -> tuple[Tensor, State]:
        end = train(task, space, at)
        cotangent, direct = look(task, space, end)
        leaves, x = space.leaves(end.weights), at.upper.detach().requires_grad_()
        gradient = grad(task.fit(leaves, x), leaves, create_graph=True)

        def product(v: Any) -> Any:
            return space.gather(grad(gradient, leaves, space.views(v), retain_graph=True))

        adjoint = solve(space, product, cotangent)
        (mixed,) = grad(gradient, x, space.views(adjoint))
        return plus(direct, -mixed), end

    return rule


def conjugate(space: Space, product: Callable[[Any], Any], b: Any) -> Any:
    """Conjugate gradients (Hestenes, Stiefel, 1952)."""
    x, r, p, rr = None, b, b, space.dot(b, b)
    for index in range(SOLVER_STEPS):
        ap = product(p)
        step = rr / space.dot(p, ap)
        x = space.scaled(step, p) if x is None else space.axpy(step, p, x)
        if index < SOLVER_STEPS - 1:
            r = space.axpy(-step, ap, r)
            before, rr = rr, space.dot(r, r)
            p = space.axpy(rr / before, p, r)
    return x


def series(space: Space, product: Callable[[Any], Any], b: Any) -> Any:
    """Sum the terms of s * sum_{k=0}^{K} (I - s H)^k b."""
    term, total = b, b
    for _ in range(SOLVER_STEPS):
        term = space.axpy(-NEUMANN_STEP, product(term), term)
        total = space.axpy(1.0, term, total)
    return space.scaled(NEUMANN_STEP, total)


def unroll(task: Task, space: Space, at: State) -> tuple[Tensor, State]:
    """Autograd through five steps of SGD with momentum."""
    x = at.upper.detach().requires_grad_()
    weights, momentum, params = at.weights, at.momentum, space.leaves(at.weights)
    for _ in range(SOLVER_STEPS):
        gradient = space.gather(grad(task.fit(params, x), params, create_graph=True))
        momentum = space.axpy(MOMENTUM, momentum, gradient)
        weights = space.axpy(-LR, momentum, weights)
        params = space.views(weights)
    (found,) = grad(task.validate(params, x), x)
    return found, State(weights, momentum, at.upper)


def step(rule: Any, task: Task, space: Space, at: State, *, look_ahead: bool) -> State:
    """One outer step: the hypergradient, the upper update and, where the first was virtual, the step made again."""
    found, end = rule(task, space, at)
    upper = torch.add(at.upper, found, alpha=-UPPER_LR)
    if look_ahead:
        return train(task, space, at._replace(upper=upper))
    return State(end.weights, end.momentum, upper)
