"""What a loss uses against what its problem declares, looked at on the first call of that loss."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any
from weakref import WeakSet

from torch import Tensor

from mlo.errors import LossError, ReadError
from mlo.graph import ProblemGraph
from mlo.problem import Problem
from mlo.variable import SINGLE, declared
from mlo.vector import Values

_CHECKED: WeakSet[Problem] = WeakSet()
_TWICE: WeakSet[Problem] = WeakSet()


def is_checked(problem: Problem) -> bool:
    """Tell whether the reads of this very problem were compared, and found right, before."""
    return problem in _CHECKED


def check_reads(graph: ProblemGraph, problem: Problem, used: Collection[str], loss: Tensor, present: Values) -> None:
    """Compare what one call of a loss used with what its problem declares.

    Two mistakes are found. A declared read that the loss never touched. And a variable that the loss took from its
    surroundings instead of its view: the tensors at the ends of the loss's autograd graph are compared, by identity,
    with the declared variables of all problems. Declared tensors that do not require a gradient (a plain tensor; a
    frozen parameter, which is a constant by right) leave no trace in that graph, so their use cannot be seen.

    Args:
        graph: The problems.
        problem: The one whose loss was called.
        used: The names that the loss touched.
        loss: What it returned.
        present: The values that it was shown.

    Raises:
        ReadError: If there is a mistake; the message names the problem and the read.
    """
    own = {id(value) for params in present.values() for value in params.values()}
    outside = [leaf for leaf in _leaves(loss, present) if id(leaf) not in own]
    if outside:
        _check_outside(graph, problem, outside)
    for read in problem.reads:
        if read not in used:
            raise ReadError(
                f"problem {problem.name!r} declares that it reads {read!r}, but its loss did not use it: take it "
                f"from the view, v[{read!r}] (each time: _ = v[{read!r}] is enough), or remove it from reads of "
                f"{problem.name!r}"
            )
    _CHECKED.add(problem)


def _check_outside(graph: ProblemGraph, problem: Problem, outside: list[Tensor]) -> None:
    """Raise if the tensors that a loss took from its surroundings belong to a variable."""
    found = {id(leaf) for leaf in outside}
    # Stages of an interleaving share one declared module: a problem's own variable is the likely one, then its reads.
    likely = dict.fromkeys((problem.name, *problem.reads, *graph.names))
    for other in likely:
        trained, _ = declared(graph[other].variable)
        key = next((key for key, value in trained.items() if id(value) in found), None)
        if key is None:
            continue
        whose = "its own declared variable" if other == problem.name else f"the declared variable of {other!r}"
        which = "" if key == SINGLE else f" (its {key!r})"
        declare = f", and add {other!r} to its reads" if other not in (problem.name, *problem.reads) else ""
        raise ReadError(
            f"the loss of problem {problem.name!r} uses {whose} itself{which}, which never moves: take it from the "
            f"view, v[{other!r}]{declare} (where the declared value is meant as a constant, use a .detach()ed copy)"
        )


def check_second_derivatives(problem: Problem, loss: Tensor, present: Values) -> None:
    """Check, at the first call of a loss that is to be differentiated twice, that it is not compiled code.

    Torch raises an error for some of its second derivatives, and takes others for zero without a word.

    Raises:
        LossError: If it is; the message names the problem.
    """
    if problem in _TWICE:
        return
    if any(type(node).__name__.startswith("CompiledFunction") for node in _nodes(loss, present)):
        cure = "give the responses product=mlo.FiniteDifference(), or take torch.compile out of this loss"
        what = f"the loss of problem {problem.name!r} runs compiled code, of which torch has no second derivatives"
        raise LossError(f"{what}: {cure}")
    _TWICE.add(problem)


def _leaves(loss: Tensor, present: Values) -> Iterator[Tensor]:
    """Yield the tensors at which the graph of `loss` ends, without going back beyond what the loss was shown."""
    if loss.is_leaf:
        yield loss
    for node in _nodes(loss, present):
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor):
            yield leaf


def _nodes(loss: Tensor, present: Values) -> Iterator[Any]:
    """Yield the nodes of the graph of `loss`, without going back beyond what the loss was shown."""
    ends = {value.grad_fn for params in present.values() for value in params.values()}
    seen: set[Any] = {node for node in ends if node is not None}
    frontier: list[Any] = [loss.grad_fn]
    while frontier:
        node = frontier.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        frontier.extend(parent for parent, _ in node.next_functions)
