"""Where a number that is not finite came from: looked for only where an error is raised in any case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import optree
import torch
from torch import Tensor

from mlo.context import Context
from mlo.errors import DivergenceError
from mlo.pieces import Sum
from mlo.update import split_state
from mlo.vector import Params

Finding = tuple[str, str]
"""What was found, and the cure."""

RISE = 100.0
"""A rise of a loss within one step that no batch and no hyperparameter explains, relative to the loss or to 1."""


@contextmanager
def explained(context: Context) -> Iterator[None]:
    """Where the body meets a number that is not finite, tell where it came from, as far as can be seen.

    Raises:
        DivergenceError: That of the body, or one that names the scale if a gradient overflowed at it; its message tells
            of the problem's value, optimizer state or batch if there is NaN or infinity in it.
    """
    try:
        with context.tally.explaining():
            yield
    except DivergenceError as error:
        _name_culprit(context, error)
        _name_term(context, error)
        finding = cause(context, error.problem) or runaway(context, error.problem)
        if finding is not None:
            error.trace_to(*finding)
        raise


def cause(context: Context, culprit: str | None) -> Finding | None:
    """Return what is not finite of what a step began with: a value, an optimizer state, a batch; None if all is.

    Args:
        context: The state that a step began with, and its batches.
        culprit: The problem whose numbers were not finite; None if any may have been.
    """
    graph = context.graph
    # What a value depends on is looked at as well; what lies deeper comes first.
    seen = graph.names if culprit is None else (culprit, *graph.inputs(culprit), *graph.responders(culprit))
    names = [name for name in reversed(graph.names) if name in seen]
    for name in names:
        key = _first_spoilt(context.stored[name])
        if key is not None:
            what = f"the value of problem {name!r} was not finite before, entry {key!r}"
            return what, "begin from finite values, those of the last good step"
        if any(_count(value)[0] for value in split_state(context.states.get(name))[0]):
            return f"the optimizer state of problem {name!r} was not finite before", "begin from that of a good step"
    own = [culprit] if culprit in names else []
    for name in [*own, *(name for name in names if name != culprit)]:
        found = spoilt(context, name)
        if found is not None:
            whose = "its batch" if name == culprit else f"the batch of problem {name!r}"
            return f"{whose} holds {found}", "mend or leave out these examples"
    return None


def runaway(context: Context, culprit: str | None) -> Finding | None:
    """Return which problem's own updates raised its loss instead of lowering it; None if none did.

    Args:
        context: The state that a step began with.
        culprit: The problem whose numbers were not finite; None if any may have been.
    """
    graph = context.graph
    for name in reversed(graph.names if culprit is None else (culprit, *graph.responders(culprit))):
        if name in context.tally.losses and graph[name].rule is not None:
            first, last = (float(loss) for loss in context.tally.losses[name])
            if last > first + RISE * max(1.0, abs(first)):
                what = f"the loss of problem {name!r} rose from {first:.3g} to {last:.3g} within the step"
                return what, "its updates run away: lower its step size"
    return None


def spoilt(context: Context, name: str) -> str | None:
    """Return what is not finite in the batch of a problem, and where; None if all is.

    NaN is told of before infinity, which may be meant, as in a mask.
    """
    loss, batch = context.graph[name].loss, context.batches.get(name)
    found: str | None = None
    for path, leaf in _leaves(batch):
        bad, nans, first, length = _count(leaf)
        if bad and (found is None or nans):
            kind = "NaN" if nans else "infinity"
            where = _place(loss, path)
            count = f"in {bad} of {length} examples, the first is number {first + 1}" if length else ""
            found = f"{kind} ({'; '.join(part for part in (where, count) if part)})" if where or count else kind
            if nans:
                break
    return found


def _leaves(batch: Any) -> Iterator[tuple[Sequence[Any], Tensor]]:
    try:
        paths, leaves, _ = optree.tree_flatten_with_path(batch, none_is_leaf=True)
    except RuntimeError:  # a list in itself
        return
    for path, leaf in zip(paths, leaves, strict=True):
        if isinstance(leaf, np.ndarray | np.inexact | float | complex):
            array = np.asarray(leaf)
            if array.dtype.kind in "fc":
                yield path, _marks(array)
        elif isinstance(leaf, Tensor):
            yield path, leaf


def _marks(array: Any) -> Tensor:
    """Return NaN and infinity where an array has them, and 0 elsewhere: torch takes not every array as it is."""
    return torch.from_numpy(np.where(np.isnan(array), np.nan, np.where(np.isinf(array), np.inf, 0.0)))


def _count(value: Tensor) -> tuple[int, bool, int, int]:
    """Return how many examples are not finite, whether one has NaN, the first of them, and how many there are.

    Of a tensor of no dimensions, and of a sparse or nested one, the number of examples is told as 0. What cannot be
    looked through passes: an error here would hide the one that is to be explained.
    """
    if not (value.is_floating_point() or value.is_complex()):
        return 0, False, 0, 0
    try:
        return _counted(value.detach())
    except RuntimeError:
        return 0, False, 0, 0


def _counted(value: Tensor) -> tuple[int, bool, int, int]:
    if value.is_nested:
        found = [_count(part) for part in value.unbind()]
        return sum(bad > 0 for bad, *_ in found), any(nans for _, nans, *_ in found), 0, 0
    if value.layout != torch.strided:
        parts = value.coalesce().values() if value.layout == torch.sparse_coo else value.values()
        return (*_count(parts)[:2], 0, 0)
    if value.numel() == 0:
        return 0, False, 0, 0
    value = value if value.is_complex() or value.element_size() > 1 else value.float()  # float8 has no comparisons
    bad = ~torch.isfinite(value)
    if not bool(bad.any()):
        return 0, False, 0, 0
    nan = torch.isnan(value)
    nans = bool(nan.any())
    if value.dim() == 0:
        return 1, nans, 0, 0
    rows = (nan if nans else bad).reshape(len(value), -1).any(dim=1)
    return int(rows.sum()), nans, int(rows.nonzero()[0]), len(value)


def _place(loss: Any, path: Sequence[Any]) -> str:
    if isinstance(loss, Sum) and path:
        return ", ".join([loss.label(path[0]), *_entry(path[1:])])
    return ", ".join(_entry(path))


def _entry(path: Sequence[Any]) -> list[str]:
    return [f"entry {'.'.join(str(part) for part in path)}"] if path else []


def _first_spoilt(params: Params) -> str | None:
    return next((key for key, value in params.items() if _count(value)[0]), None)


def _name_culprit(context: Context, error: DivergenceError) -> None:
    """Say whose loss it was, where that is not known: an adjoint sees only what came of it."""
    if error.problem is None:
        for name in reversed(context.graph.names):
            _, loss = context.tally.losses.get(name, (None, None))
            if loss is not None and not bool(torch.isfinite(loss)):
                error.problem = name
                error.say(f"the loss of problem {name!r} is {float(loss)}")
                return


def _name_term(context: Context, error: DivergenceError) -> None:
    """Say which term of a sum it was, where its loss is one."""
    loss = context.graph[error.problem].loss if error.problem is not None else None
    if not isinstance(loss, Sum) or not error.what.startswith("the loss of"):
        return
    if len(loss.terms) == 1:
        error.say(f"{error.what}, from {loss.label(0)}")
        return
    for name, terms, losses in context.tally.terms:
        for term, value in zip(terms, losses, strict=True):
            if name == error.problem and not bool(torch.isfinite(value)):
                error.say(f"{error.what}, from {loss.label(term)}")
                return
