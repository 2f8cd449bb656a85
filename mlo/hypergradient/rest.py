"""Whether a solve got where its rule takes it to be."""

from __future__ import annotations

from mlo.errors import UnconvergedError
from mlo.hypergradient.base import Node, Trace
from mlo.hypergradient.run import check_finite


def check_rest(node: Node, trace: Trace, *, strict: bool) -> None:
    """Let `node` note a solve that made all its steps and did not reach its tolerance, for the warning at the end.

    Raises:
        DivergenceError: If it met something not finite.
        UnconvergedError: If `strict` is set instead.
    """
    if trace.slope is None or trace.slope <= node.tolerance:
        return
    check_finite(node.name, trace)  # looked at here alone, where something is wrong in any case
    if strict:
        raise UnconvergedError(restless(node.name, trace.slope))
    node.note_restless(trace.slope)


def restless(name: str, slope: float) -> str:
    """Return what to tell of a solve of problem `name` that ended where its gradient has norm `slope`."""
    return (
        f"problem {name!r}: its solve has not reached its tolerance: the gradient's norm is {slope:.1e} after the last "
        "step; its rule takes the answer to be at rest, so that a hypergradient through it is off: give it more steps, "
        "a larger step size, or a larger tolerance, or differentiate the steps by mlo.Unroll()"
    )
