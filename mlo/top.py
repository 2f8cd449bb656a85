"""What the outermost problem of a graph needs, for an engine to train it."""

from __future__ import annotations

from mlo.errors import GraphError
from mlo.graph import ProblemGraph
from mlo.hypergradient import SingleLoop
from mlo.problem import Problem


def trainable_top(graph: ProblemGraph, *, look_ahead: bool) -> Problem:
    """Return the outermost problem.

    Raises:
        GraphError: If it cannot be trained, or another one never would be.
    """
    top = graph.problems[0]
    for problem in graph.problems:
        if not problem.warm_start:
            _check_cold(graph, problem, look_ahead=look_ahead)
    for problem in graph.problems[1:]:
        if problem.rule is not None and problem.steps == 0:
            cure = "give it steps >= 1, or update=None if its value is to stay"
            raise GraphError(f"problem {problem.name!r} has an update but steps=0 and would never be trained: {cure}")
    if top.rule is None:
        raise GraphError(f"the outermost problem {top.name!r} has no update: give it one, such as torchopt.adam(1e-2)")
    if top.steps != 1:
        cure = "it makes one update in each engine step, so leave steps at 1 and run more of them"
        raise GraphError(f"the outermost problem {top.name!r} has steps={top.steps}: {cure}")
    graph.solved_before(top.name)  # raises for a problem without an update
    return top


def _check_cold(graph: ProblemGraph, problem: Problem, *, look_ahead: bool) -> None:
    """Raise if something in a graph, or an engine, needs a problem to go on from step to step that does not."""
    what = None
    if problem is graph.problems[0]:
        what = "it is the outermost, and would never move"
    elif look_ahead:
        what = "look_ahead=True trains it for real"
    elif isinstance(problem.response, SingleLoop):
        what = "SingleLoop follows its answer from step to step"
    elif any(p.start is not None and problem.name in p.start.remembers for p in graph.problems):
        what = "the start of another problem remembers its answer of the step before"
    elif any(problem.name in p.remembers for p in graph.problems):
        what = "the proximal term of another problem remembers its answer of the step before"
    if what is not None:
        raise GraphError(f"problem {problem.name!r} has warm_start=False, but {what}: leave out one of the two")
