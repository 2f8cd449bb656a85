"""What a rule or a solver hands back is what it promised: mistakes in one of your own are told by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from mlo.errors import ConfigError
from mlo.hypergradient.base import AbstractResponse, Node, Pullback, Trace
from mlo.linear.base import AbstractLinearSolver, LinearSolution
from mlo.vector import Params

T = TypeVar("T")


def responded(rule: AbstractResponse, node: Node, *, differentiable: bool) -> Trace:
    """Return the answer of `node` by `rule`."""
    return _promised(node.name, rule, "respond", Trace, rule.respond(node, differentiable=differentiable))


def pulled(
    rule: AbstractResponse, node: Node, trace: Trace, cotangent: Params, wanted: Sequence[str], *, differentiable: bool
) -> Pullback:
    """Return the pullback of a cotangent on the answer of `node` by `rule`.

    Raises:
        ConfigError: If it is not one, or a part of it is not a dict of tensors.
    """
    found = rule.pullback(node, trace, cotangent, wanted, differentiable=differentiable)
    for name, part in _promised(node.name, rule, "pullback", Pullback, found).parts.items():
        if not isinstance(part, Mapping):
            what = f"the part for {name!r} must be a dict of tensors, shaped as that variable"
            raise ConfigError(_told(node.name, rule, "pullback", what, part))
    return found


def checked_solution(name: str, solver: AbstractLinearSolver, found: LinearSolution, b: Tensor) -> LinearSolution:
    """Return what `solver` found for the right-hand side `b`.

    Raises:
        ConfigError: If it is no solution, or not shaped as `b`.
    """
    value = _promised(name, solver, "solve", LinearSolution, found).value
    if value.shape != b.shape:
        shape = f"{tuple(value.shape)}: return x of the shape of b"
        raise ConfigError(
            f"problem {name!r}: {type(solver).__name__}.solve was given b {tuple(b.shape)}, got x {shape}"
        )
    return found


def _promised(name: str, owner: object, method: str, kind: type[T], found: T) -> T:
    if not isinstance(found, kind):
        raise ConfigError(_told(name, owner, method, f"must return an instance of {kind.__name__}", found))
    return found


def _told(name: str, owner: object, method: str, what: str, found: object) -> str:
    return f"problem {name!r}: {type(owner).__name__}.{method}: {what}, got {type(found).__name__}"
