"""Whether a checkpoint is of the problems that an engine has."""

from __future__ import annotations

from collections.abc import Iterator

from mlo.checkpoint.content import frozen
from mlo.checkpoint.manifest import Block, Content
from mlo.checkpoint.storage import fingerprints
from mlo.graph import ProblemGraph
from mlo.problem import Problem
from mlo.snapshot import Snapshot
from mlo.vector import Params


def differences(graph: ProblemGraph, now: Snapshot, content: Content) -> Iterator[str]:
    """Yield how the problems of a checkpoint differ from those of an engine: what, what it was, and what it is.

    Args:
        graph: The problems of the engine.
        now: What it holds.
        content: What the checkpoint holds.
    """
    for name in [*content.problems, *(name for name in graph.names if name not in content.problems)]:
        if name not in graph.names:
            yield f"problem {name!r} was there, and is not in the engine's graph"
        elif name not in content.problems:
            yield f"problem {name!r} is in the engine's graph, and was not there"
        else:
            kept, problem = content.problems[name], graph[name]
            yield from _block_differences(name, "entry", kept.values, now.params[name])
            yield from _block_differences(name, "buffer", kept.buffers, now.buffers[name])
            yield from _frozen_differences(problem, kept.frozen)
            if (kept.state is None) != (problem.rule is None):
                yield f"problem {name!r} {'had no' if kept.state is None else 'had an'} update, and has {_now(problem)}"
    for name in content.adjoints:
        if name not in graph.names:
            yield f"a linear solve was of problem {name!r}, which is not in the engine's graph"


def _block_differences(name: str, what: str, block: Block, at: Params) -> Iterator[str]:
    for entry, kept in block.names.items():
        if entry not in at:
            yield f"problem {name!r}: {what} {entry!r} was there, and is not in the engine"
            continue
        value = at[entry]
        before, after = (kept.dtype, kept.shape), (str(value.dtype).removeprefix("torch."), tuple(value.shape))
        if before != after:
            was, is_ = (f"{dtype} of shape {shape}" for dtype, shape in (before, after))
            yield f"problem {name!r}: {what} {entry!r} was {was}, and is {is_}"
    for entry in at:
        if entry not in block.names:
            yield f"problem {name!r}: {what} {entry!r} is in the engine, and was not there"
    for before_, after_ in zip(block.names, at, strict=False):
        if before_ != after_:
            yield f"problem {name!r}: {what} {before_!r} was in the place where {after_!r} is now"


def _frozen_differences(problem: Problem, before: dict[str, str]) -> Iterator[str]:
    after = fingerprints(frozen(problem))
    for entry in [*before, *(entry for entry in after if entry not in before)]:
        if before.get(entry) != after.get(entry):
            yield f"problem {problem.name!r}: the frozen parameter {entry!r} is another one than it was"


def _now(problem: Problem) -> str:
    return "none" if problem.rule is None else "one"
