"""Run a problem's own optimizer and remember nothing but the end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from mlo.errors import DivergenceError, LossError, MLOError
from mlo.hypergradient.base import Evaluation, Node, Point, Trace
from mlo.look import Look, stacked
from mlo.update import detach_state
from mlo.vector import Params, Values, constants, detach, norm, not_finite, zeros_like


def run(node: Node, most: int | None = None, *, others: Values | None = None) -> Trace:
    """Make the node's steps from its start, without history; stop early where its tolerance says so.

    With a tolerance, the gradient is looked at once more after the last step, to tell whether it is small by then.

    Args:
        node: The problem.
        most: How many steps to make at most, if not as many as the node says.
        others: Values of its inputs, if not the present ones.

    Returns:
        The solve; its answer is the variable at the end, and its record is empty.

    Raises:
        LossError: If the objective does not depend on the problem's own variable.
    """
    ahead, most = node.ahead if others is None else None, node.steps if most is None else most
    others = constants(node.read() if others is None else others)
    point, losses, gradient, slope, steps = node.start(others), list[Tensor](), None, None, 0
    while steps < most or (node.tolerance and most):
        known = ahead if steps == 0 else None
        seen = node.gradient(point, others, (node.name,)) if known is None else known.seen
        gradient = own_gradient(seen, node)
        losses.append(seen.loss)
        if node.tolerance:
            slope = float(node.slope(point.params, gradient, others))
            if slope <= node.tolerance or steps == most:
                break
        point = advance(node, point, gradient, others, seen.buffers)
        steps += 1
    size = None if gradient is None else norm(gradient)
    return Trace(point.params, point, tuple(losses), size, steps, slope=slope)


def watch(name: str, trace: Trace, look: Look) -> None:
    """Let `look` raise `DivergenceError` if the solve of problem `name` met or ended in something not finite."""

    def blame() -> None:
        check_finite(name, trace)

    if trace.losses:
        look.finite(trace.losses[0] if len(trace.losses) == 1 else stacked(trace.losses).sum(), blame)
    look.finite(norm(detach(trace.answer)), blame)


def check_finite(name: str, trace: Trace) -> None:
    """Raise `DivergenceError` if the solve of problem `name` met or ended in something not finite."""
    for step, loss in enumerate(trace.losses):
        if not math.isfinite(float(loss)):
            cure = "lower its step size, or check its batch"
            if step > 0:
                cure += f", or its gradient at step {step - 1}: a square root or a norm at zero has none"
            what = f"the loss of problem {name!r} is {float(loss)} at step {step} of its solve"
            raise DivergenceError(what, cure, problem=name)
    culprit = not_finite(trace.answer)
    if culprit is None:
        return
    if trace.gradient_norm is not None and not math.isfinite(float(trace.gradient_norm)):
        what = f"problem {name!r}: {culprit!r} is not finite after {trace.steps} steps, and the gradient was not before"
        cure = "a square root or a norm in its loss at zero gives this; else lower its step size"
        raise DivergenceError(what, cure, problem=name)
    what = f"problem {name!r}: {culprit!r} is not finite after {trace.steps} steps, though loss and gradient were"
    raise DivergenceError(what, "lower its step size", problem=name)


def advance(node: Node, point: Point, gradient: Params, others: Values, buffers: Params) -> Point:
    """Make one update without history."""
    with torch.no_grad():
        params, state = node.advance(point.params, gradient, point.state, others)
    return Point(detach(params), detach_state(state), buffers)


def own_gradient(seen: Evaluation, node: Node) -> Params:
    """Return the gradient with respect to the problem's own variable.

    Raises:
        LossError: If the objective does not depend on it at all: then there is nothing to solve.
    """
    found = seen.parts.get(node.name)
    if found is None:
        cause = "look for a name mixed up, or for .detach(), .item() or torch.no_grad() in it"
        if node.loss_reads:
            constant = ", ".join(map(repr, node.loss_reads))
            cause += f"; or, as it takes {constant} for constant, for a graph that is not listed outermost first"
        raise LossError(f"the loss of problem {node.name!r} does not depend on {node.name!r}: {cause}")
    return found


@contextmanager
def second_derivative(name: str) -> Iterator[None]:
    """Say where a second derivative was taken, and what does without, if torch raises: for compiled code it does."""
    try:
        yield
    except MLOError:  # such as that of another rank
        raise
    except RuntimeError as error:
        cure = "give its response product=mlo.FiniteDifference(), which takes first derivatives alone"
        error.add_note(f"raised by a second derivative of the loss of problem {name!r}: {cure}")
        raise


def filled(part: Params | None, at: Params) -> Params:
    """Return `part`, or the zero of the space of `at` if there is none."""
    return zeros_like(at) if part is None else part
