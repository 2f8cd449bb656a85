"""All settings of a graph as lines of text, to see whether two programs have the same one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from mlo.graph import ProblemGraph
from mlo.problem import Problem

_DEEPEST, _MOST = 8, 64


def outline(graph: ProblemGraph) -> list[str]:
    """Return the settings of every problem, one to a line: names, shapes, numbers; no values of tensors, no data.

    Of a loss only its name is told: what a function holds on to may well be data.
    """
    return [f"{problem.name}: {line}" for problem in graph.problems for line in _lines(problem)]


def _lines(problem: Problem) -> Iterator[str]:
    yield f"reads={problem.reads} steps={problem.steps} tolerance={problem.tolerance} accumulate={problem.accumulate}"
    yield f"warm_start={problem.warm_start} start={_shown(problem.start)}"
    yield f"batches {'none' if problem.batches is None else 'given'}"
    for kind, found in (("", problem.kind.initial()), ("buffer ", problem.kind.buffers())):
        yield from (f"{kind}{key} {_shown(value)}" for key, value in found.items())
    yield f"update {_shown(problem.update)}"
    yield f"response {_shown(problem.response)}"
    yield f"loss {getattr(problem.loss, '__qualname__', type(problem.loss).__name__)}"


def _shown(thing: Any, depth: int = 0) -> str:
    """Return what a setting is, down to the numbers in closures; nothing that depends on the process."""

    def inner(part: Any) -> str:
        return _shown(part, depth + 1)

    if isinstance(thing, bool | int | float | complex | str | bytes | torch.dtype | torch.device | None):
        return repr(thing)
    if isinstance(thing, Tensor):
        return f"{tuple(thing.shape)} {thing.dtype}"
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    if depth > _DEEPEST or isinstance(thing, nn.Module | type):
        return name
    parts = [f"{key}={inner(part)}" if key else inner(part) for key, part in islice(_parts(thing), _MOST)]
    return f"{name}({', '.join(parts)})" if parts else name


def _parts(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a setting is made of, with its name if it has one."""
    if isinstance(thing, torch.optim.Optimizer):
        yield from (("", {k: v for k, v in group.items() if k != "params"}) for group in thing.param_groups)
    elif isinstance(thing, functools.partial):
        yield from (("", part) for part in (thing.func, *thing.args))
        yield from thing.keywords.items()
    elif is_dataclass(thing):
        yield from ((field.name, getattr(thing, field.name)) for field in fields(thing) if field.repr)
    elif isinstance(thing, Mapping):
        yield from ((str(key), part) for key, part in thing.items())
    elif isinstance(thing, list | tuple):
        yield from (("", part) for part in thing)
    elif isinstance(thing, set | frozenset):
        yield from (("", part) for part in sorted(thing, key=repr))
    elif isinstance(thing, Callable):  # type: ignore[arg-type]
        yield from _held(thing)


def _held(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a function has closed over."""
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=False):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not yet filled
            yield name, None
