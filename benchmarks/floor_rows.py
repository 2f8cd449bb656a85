"""The rows of `floor.py`: one computation each, by `mlo` and by hand, ready to be run and counted."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

import mlo
from benchmarks import floor_by_hand as by_hand
from benchmarks import floor_chain
from benchmarks import floor_problems as problems
from benchmarks.floor_spaces import SPACES

STEPS = by_hand.SOLVER_STEPS
RULES: dict[str, tuple[Any, mlo.hypergradient.AbstractResponse, int]] = {
    "difference": (by_hand.difference, mlo.Unroll(product=mlo.FiniteDifference(epsilon=by_hand.EPSILON)), 1),
    "cg": (
        by_hand.implicit(by_hand.conjugate),
        mlo.Implicit(mlo.CG(max_steps=STEPS, tol=0.0), warm_start=False),
        1,
    ),
    "neumann": (
        by_hand.implicit(by_hand.series),
        mlo.Implicit(mlo.Neumann(max_steps=STEPS, step_size=by_hand.NEUMANN_STEP, tol=0.0), warm_start=False),
        1,
    ),
    "unroll": (by_hand.unroll, mlo.Unroll(), STEPS),
}
"""By name: by hand, by `mlo`, and the steps of the lower problem."""

SIZES = {"small": {"width": 8, "batch": 8}, "full": {"width": 80, "batch": 64}}
"""Of the deep network; at both it has 60 tensors."""


@dataclass(frozen=True)
class Run:
    """A row that can be run, any number of times.

    Attributes:
        ours: By `mlo`.
        hands: By hand, for each space.
        value: What came out of ours, as tensors to compare.
        hand_value: The same of a hand-written version in a space.
    """

    ours: Callable[[], Any]
    hands: dict[str, Callable[[], Any]]
    value: Callable[[Any], list[Tensor]]
    hand_value: Callable[[str, Any], list[Tensor]]


@dataclass(frozen=True)
class Row:
    """What is counted, and the limits that hold for it.

    Attributes:
        problem: "deep", "chain" or "wide".
        rule: How the lower problem responds.
        what: "hypergradient", or "step" for one of the engine's.
        syncs: Most looks at a value.
        prepare: Returns the run, at a size.
    """

    problem: str
    rule: str
    what: str
    syncs: int
    prepare: Callable[[str], Run]

    @property
    def name(self) -> str:
        """The row in words."""
        return f"{self.problem} {self.rule} {self.what}"


def quiet(act: Callable[[], Any]) -> Callable[[], Any]:
    """Leave out the warnings that five steps of a solver are not enough."""

    def acting() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mlo.UnconvergedWarning)
            return act()

    return acting


def bilevel_gradient(task: problems.Task, rule: str) -> Run:
    hand, response, steps = RULES[rule]
    graph = task.graph(response, steps=steps)
    spaces = {name: kind(task.start) for name, kind in SPACES.items()}
    hands = {name: _bound(hand, task, space, by_hand.start(task, space)) for name, space in spaces.items()}
    ours = quiet(lambda: mlo.hypergradient(graph, of="x"))
    ours()  # what is done once for a graph is not of a hypergradient
    return Run(ours, hands, lambda found: [found], lambda _, found: [found[0]])


def bilevel_step(task: problems.Task, rule: str) -> Run:
    hand, response, steps = RULES[rule]
    virtual = rule == "difference"  # DARTS makes the step again, for real
    engine = mlo.Engine(task.graph(response, steps=steps), look_ahead=virtual)
    ours, hands, spaces = quiet(engine.step), {}, {name: kind(task.start) for name, kind in SPACES.items()}
    ours()
    for name, space in spaces.items():
        second = by_hand.step(hand, task, space, by_hand.start(task, space), look_ahead=virtual)
        hands[name] = _bound(by_hand.step, hand, task, space, second, look_ahead=virtual)
    return Run(ours, hands, lambda _: _values(engine), lambda name, at: [at.upper, *spaces[name].views(at.weights)])


def chain_gradient(problem: problems.Chain, rule: str) -> Run:
    graph, hands = problem.graph(_product(rule)), {}
    for name, kind in SPACES.items():
        space = kind(problem.tasks[0].start)
        at = floor_chain.starts(problem, space), problem.upper
        hands[name] = _bound(floor_chain.interleaved, problem, space, *at, exact=rule == "exact")
    ours = _bound(mlo.hypergradient, graph, of="x")
    ours()
    return Run(ours, hands, lambda found: [found], lambda _, found: [found[0]])


def chain_step(problem: problems.Chain, rule: str) -> Run:
    engine = mlo.Engine(problem.graph(_product(rule)))
    engine.step()
    hands, spaces = {}, {name: kind(problem.tasks[0].start) for name, kind in SPACES.items()}
    for name, space in spaces.items():
        at = floor_chain.starts(problem, space), problem.upper
        second = floor_chain.step(problem, space, *at, exact=rule == "exact")
        hands[name] = _bound(floor_chain.step, problem, space, *second, exact=rule == "exact")

    def hand_value(name: str, found: tuple[list[Any], Tensor]) -> list[Tensor]:
        return [found[1], *(part for end in reversed(found[0]) for part in spaces[name].views(end))]

    return Run(engine.step, hands, lambda _: _values(engine), hand_value)


def _bound(act: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[[], Any]:
    return lambda: act(*args, **kwargs)


def _product(rule: str) -> Any:
    return mlo.Exact() if rule == "exact" else mlo.FiniteDifference(epsilon=by_hand.EPSILON)


def _values(engine: mlo.Engine) -> list[Tensor]:
    """Return the engine's values, problems and tensors in their order."""
    found = (value if isinstance(value, dict) else {"": value} for value in engine.values.values())
    return [tensor for params in found for tensor in params.values()]


def deep(size: str) -> problems.Task:
    return problems.deep(**SIZES[size])


def rows() -> list[Row]:
    """Return all rows. A solver may look once before it begins and once in each step, and all once at the end."""
    made = []
    for rule in RULES:
        syncs = STEPS + 3 if rule in ("cg", "neumann") else 1
        made.append(Row("deep", rule, "hypergradient", syncs, lambda size, r=rule: bilevel_gradient(deep(size), r)))
        made.append(Row("deep", rule, "step", syncs, lambda size, r=rule: bilevel_step(deep(size), r)))
    for rule in ("difference", "exact"):
        kinds = (("hypergradient", chain_gradient), ("step", chain_step))
        for what, kind in kinds:
            prepare = lambda size, r=rule, k=kind: k(problems.chain(**SIZES[size]), r)  # noqa: E731
            made.append(Row("chain", rule, what, 1, prepare))
    wide = problems.wide
    made.append(Row("wide", "difference", "hypergradient", 1, lambda _: bilevel_gradient(wide(), "difference")))
    made.append(Row("wide", "difference", "step", 1, lambda _: bilevel_step(wide(), "difference")))
    return made
