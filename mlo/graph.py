"""A problem graph: which problem is solved inside which, and in what order.

Two definitions carry everything. For problems p and q with q deeper than p (later in the list):

- q **responds** to p if a chain of reads leads from q to p through problems that are all deeper than p. Then q's answer
  moves when p's variable moves, and q is solved again inside p's step.
- The **inputs** of q are the problems whose final values its answer depends on. They are where reads lead from q when
  they are followed through problems that respond to q, and no further. (A responder that q does not read, directly or
  through others, plays no part in its answer.)

Within p's step a problem comes after its inputs. Such an order always exists, as long as no problem reads itself: on a
cycle of inputs, let p be the outermost problem and q its input. Reads lead from q along the cycle back to p through
problems deeper than p, so that q responds to p; but then q is no input of p.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter

from mlo.errors import GraphError
from mlo.label import label
from mlo.problem import Problem
from mlo.variable import declared


class ProblemGraph:
    """Problems, outermost first, as one writes them on paper.

    Args:
        problems: The problems; names must be unique, and every read must name another problem of the list.

    Raises:
        GraphError: If they do not form a graph; the message names the problem and the read.

    Examples:
        >>> import mlo, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.w**2, torch.tensor(3.0), reads=["w"], update=torchopt.sgd(0.1))
        >>> w = mlo.Problem("w", lambda v, _: (v.w - v.x) ** 2, torch.zeros(()), reads=["x"], update=torchopt.sgd(0.5))
        >>> mlo.ProblemGraph([x, w]).levels
        2
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Check the graph and work out who responds to whom."""
        if not isinstance(problems, Iterable):
            raise GraphError(f"a problem graph is made of a list of mlo.Problem, got {type(problems).__name__}")
        self.problems = tuple(problems)
        self._position = _positions(self.problems)
        _check_reads(self.problems, self._position)
        self._readers = {name: [p.name for p in self.problems if name in p.dependencies] for name in self._position}
        self._responders = {name: self._reachable(name) for name in self._position}
        followed = {name: self._follow(name) for name in self._position}
        self._inputs = {name: ends for name, (_, ends) in followed.items()}
        self._responders = {name: self.order(found) for name, found in self._responders.items()}
        self._inside = {name: tuple(q for q in self._responders[name] if q in followed[name][0]) for name in followed}
        for problem in self.problems:
            _check_update_reads(problem, self._responders[problem.name])
            if problem.start is not None:
                problem.start.check_place(problem.name, self.names[0], self._responders[problem.name])
                given, own = (declared(self[name].variable)[0] for name in (problem.start.source, problem.name))
                problem.start.check_shapes(problem.name, own, given)
            _check_tolerance(problem)
        for name in dict.fromkeys(deeper for found in self._responders.values() for deeper in found):
            _check_solvable(self[name])

    def __getitem__(self, name: str) -> Problem:
        """Return the problem called `name`."""
        if not isinstance(name, str) or name not in self._position:
            known = ", ".join(repr(key) for key in self._position)
            raise GraphError(f"no problem is called {name!r}; the problems are {known}")
        return self.problems[self._position[name]]

    @property
    def names(self) -> tuple[str, ...]:
        """The problems' names, outermost first."""
        return tuple(self._position)

    @property
    def levels(self) -> int:
        """The number of levels: the longest chain, outer to deeper, of problems that are linked.

        Two are linked by a read, either way, and where the deeper one responds to the outer one.
        """
        depth: dict[str, int] = {}
        for deeper in self.problems:
            linked = [p for p in self.problems[: self._position[deeper.name]] if self._linked(p, deeper)]
            depth[deeper.name] = 1 + max((depth[p.name] for p in linked), default=0)
        return max(depth.values())

    def responders(self, name: str) -> tuple[str, ...]:
        """Return the problems that respond to `name`, in the order in which they are solved inside its step."""
        return self._responders[self[name].name]

    def useful(self, responders: Sequence[str], wrt: Sequence[str]) -> set[str]:
        """Return the names on which a cotangent leads to something in `wrt`, `responders` in solving order."""
        found = set(wrt)
        for name in responders:
            if self[name].response.transmits and found.intersection(self.inputs(name)):
                found.add(name)
        return found

    def nested_differences(self, name: str) -> int:
        """Return the most finite differences that are nested in the pullbacks through one responder of a problem."""
        nested = dict.fromkeys(self.names, 0)
        for other in reversed(self.names):
            inner = [self[q].response.differences(nested[q]) for q in self.inside(other)]
            nested[other] = max(inner, default=0)
        return nested[name]

    def inside(self, name: str) -> tuple[str, ...]:
        """Return, in solving order, the responders to `name` on whose answers its own objective depends."""
        return self._inside[self[name].name]

    def inputs(self, name: str) -> tuple[str, ...]:
        """Return the problems on whose final values the answer of `name` depends."""
        return self._inputs[self[name].name]

    def solved_before(self, name: str) -> tuple[str, ...]:
        """Return the deeper problems that do not respond to `name`, in solving order: constants in its step.

        Raises:
            GraphError: If one of them has no update.
        """
        deeper = self.names[self._position[self[name].name] + 1 :]
        found = [q for q in deeper if q not in self._responders[name]]
        for q in found:
            _check_update(self[q])
        return self.order(found)

    def order(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return `names` in solving order: each after those of its inputs that are among them."""
        chosen = sorted(names, key=lambda name: self._position[self[name].name])
        return tuple(TopologicalSorter({q: [i for i in chosen if i in self._inputs[q]] for q in chosen}).static_order())

    def _linked(self, outer: Problem, deeper: Problem) -> bool:
        read = outer.name in deeper.dependencies or deeper.name in outer.dependencies
        return read or deeper.name in self._responders[outer.name]

    def _reachable(self, name: str) -> tuple[str, ...]:
        """Return what reaches `name` along reads through deeper problems only."""
        found: list[str] = []
        frontier = [name]
        while frontier:
            for reader in self._readers[frontier.pop()]:
                if self._position[reader] > self._position[name] and reader not in found:
                    found.append(reader)
                    frontier.append(reader)
        return tuple(found)

    def _follow(self, name: str) -> tuple[set[str], tuple[str, ...]]:
        """Follow reads from `name` through its responders; return those on the way, and the inputs where it ends."""
        way, ends = [name], dict[str, None]()
        for q in way:  # grows while it is gone through
            for other in self[q].dependencies:
                if other not in self._responders[name]:
                    ends[other] = None
                elif other not in way:
                    way.append(other)
        ends.pop(name, None)
        return set(way[1:]), tuple(ends)

    def describe(self) -> str:
        """Return the graph as text, one problem a line."""
        rows = []
        for problem in self.problems:
            inner = ", ".join(self._inside[problem.name]) or "nothing"
            reads = ", ".join(problem.dependencies) or "nothing"
            rule = "outermost" if problem is self.problems[0] else label(problem.response)
            rows.append(f"{problem.name}: reads {reads}; solves inside its step: {inner}; {rule}")
        return "\n".join([f"{len(self.problems)} problems, {self.levels} levels, outermost first", *rows])

    def to_mermaid(self) -> str:
        """Return the graph as a Mermaid flowchart, outermost on top.

        Solid edges carry answers up, dotted ones constants down. The line with `~~~` draws nothing: it keeps the
        problems in the order of the list.
        """
        ids = {name: f"p{index}" for name, index in self._position.items()}
        lines = ["flowchart TB"]
        for problem in self.problems:
            rule = type(problem.response).__name__ if problem is not self.problems[0] else "outermost"
            steps = "1 step" if problem.steps == 1 else f"{problem.steps} steps"
            lines.append(f'    {ids[problem.name]}["{problem.name}<br/>{rule}, {steps}"]')
        if len(ids) > 1:
            lines.append(f"    {' ~~~ '.join(ids.values())}")
        for problem in self.problems:
            for read in problem.dependencies:
                arrow = "-->" if self._position[read] > self._position[problem.name] else "-.->"
                lines.append(f"    {ids[read]} {arrow} {ids[problem.name]}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Return the names."""
        return f"ProblemGraph({', '.join(self.names)})"


def _positions(problems: Sequence[Problem]) -> Mapping[str, int]:
    if not problems:
        raise GraphError("a problem graph needs at least one problem")
    positions: dict[str, int] = {}
    for index, problem in enumerate(problems):
        if not isinstance(problem, Problem):
            raise GraphError(f"a problem graph is made of mlo.Problem, got {type(problem).__name__} at place {index}")
        if problem.name in positions:
            raise GraphError(f"two problems are called {problem.name!r}: give each its own name")
        positions[problem.name] = index
    return positions


def _check_reads(problems: Sequence[Problem], positions: Mapping[str, int]) -> None:
    known = ", ".join(repr(name) for name in positions)
    for problem in problems:
        for read in (*problem.dependencies, *problem.remembers):
            if read == problem.name and read in problem.dependencies:
                raise GraphError(
                    f"cycle: problem {problem.name!r} reads itself; its own variable is always visible, so leave "
                    f"{problem.name!r} out of reads"
                )
            if read not in positions:
                raise GraphError(f"problem {problem.name!r} reads {read!r}, not in the graph; its problems: {known}")


def _check_update_reads(problem: Problem, responders: Sequence[str]) -> None:
    """Refuse an update that needs an answer which moves with the variable that is being updated."""
    for read in problem.rule.reads if problem.rule is not None else ():
        if read in responders:
            raise GraphError(
                f"the update of problem {problem.name!r} reads {read!r}, which responds to {problem.name!r} and is "
                f"solved inside its step: {read!r}, and what it reads, must not read {problem.name!r}"
            )


def _check_update(problem: Problem) -> None:
    if problem.rule is None and problem.steps > 0:
        cure = "give it one (such as torchopt.sgd(0.1)), or steps=0 to take its value as it stands"
        raise GraphError(f"problem {problem.name!r} has to be solved but has no update: {cure}")


def _check_tolerance(problem: Problem) -> None:
    """Refuse to stop a solve where the gradient vanishes if the update does not rest there."""
    elsewhere = problem.rule.rests_elsewhere() if problem.rule is not None and problem.tolerance else None
    if elsewhere is not None:
        raise GraphError(f"problem {problem.name!r} cannot stop early: {elsewhere}, or leave tolerance at 0")


def _check_solvable(problem: Problem) -> None:
    """Check that a problem that has to be solved, and differentiated, can be."""
    _check_update(problem)
    elsewhere = problem.rule.rests_elsewhere() if problem.rule is not None and problem.steps > 0 else None
    if elsewhere is not None and problem.response.assumes_stationarity:
        rule = type(problem.response).__name__
        cure = "or use mlo.FixedPoint() or mlo.Unroll()"
        raise GraphError(f"problem {problem.name!r} cannot respond by {rule}: {elsewhere}, {cure}")
    if problem.tolerance and problem.response.differentiates_steps:
        cause = "steps that it skips would be missing from the derivative: use mlo.Implicit(), or tolerance=0"
        raise GraphError(f"problem {problem.name!r} cannot stop early under {type(problem.response).__name__}: {cause}")
    wrong = None if problem.rule is None else problem.rule.undifferentiable()
    if wrong is not None and problem.response.differentiates_update:
        raise GraphError(f"problem {problem.name!r} cannot be unrolled: {wrong}")
