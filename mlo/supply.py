"""The batches of one step, on ranks that share them: who has how much, and what who has none computes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlo.errors import DataError
from mlo.feed import ENDED, Feed
from mlo.graph import ProblemGraph
from mlo.parallel import AbstractRanks
from mlo.pieces import Sum, examples
from mlo.position import FeedPosition

Key = tuple[str, int]


@dataclass(frozen=True)
class Drawn:
    """One batch for each problem.

    Attributes:
        batches: By problem name.
        factors: By problem name, for each term of its loss: the share of all examples that lie on this rank, times
            the number of replicas; empty for 1.
    """

    batches: dict[str, Any]
    factors: dict[str, tuple[float, ...]] = field(default_factory=dict)


class Supply:
    """The batches of all problems of a graph, step by step.

    On replicas, a pass over a problem's batches ends when it has ended on all of them. A rank that has none left until
    then, or gets an empty one, takes part with the factor 0: it computes on the batch before, or on one that another
    rank lends it, so that it makes the same calls as the others.

    Args:
        graph: The problems.
        ranks: Who shares their batches.
    """

    def __init__(self, graph: ProblemGraph, ranks: AbstractRanks) -> None:
        """Begin with the first pass of each."""
        self._graph, self._ranks = graph, ranks
        self._feeds = {p.name: Feed(p.name, p.batches) for p in graph.problems}
        self._stand_ins: dict[Key, Any] = {}

    def position(self) -> dict[str, FeedPosition]:
        """Return where each problem is in its batches."""
        found = {name: feed.position() for name, feed in self._feeds.items()}
        return {name: position for name, position in found.items() if position is not None}

    def seek(self, positions: Mapping[str, FeedPosition]) -> None:
        """Go to where each problem was in its batches; moves the global random generators.

        Raises:
            DataError: If the batches are others.
        """
        other = set(self.position()) ^ set(positions)
        if other:
            cure = "declare the same batches as when it was saved, or restore with place=False"
            raise DataError(f"problem {min(other)!r}: has batches now and had none then, or the reverse: {cure}")
        feeds = {name: self._feeds[name].renewed() for name in positions}
        # In the order in which the passes began, for problems may share what decides their order.
        for name in sorted(positions, key=lambda name: _begun(positions[name])):
            feeds[name].seek(positions[name])
        for name, feed in feeds.items():
            feed.settle(positions[name])
        self._feeds |= feeds

    def places(self) -> dict[str, tuple[int, int]]:
        """Return where the last batch of each problem that has batches is: its pass and its number there, from 1."""
        return {p.name: self._feeds[p.name].place for p in self._graph.problems if p.batches is not None}

    def draw(self, *, but: str | None = None) -> Drawn:
        """Return the next batches; None for problem `but`.

        Raises:
            DataError: If a problem has no batches on any rank.
        """
        if self._ranks.replicas == 1:
            return Drawn({name: None if name == but else feed.draw() for name, feed in self._feeds.items()})
        offers = {name: feed.ahead() for name, feed in self._feeds.items() if name != but}
        drawn, ended = share(self._graph, offers, self._ranks, self._stand_ins)
        if ended:
            for name in ended:
                self._feeds[name].renew()
            again, empty = share(self._graph, {n: self._feeds[n].ahead() for n in ended}, self._ranks, self._stand_ins)
            for name in empty:
                self._feeds[name].fail()
            drawn = Drawn(drawn.batches | again.batches, drawn.factors | again.factors)
        return Drawn({name: drawn.batches.get(name) for name in self._feeds}, drawn.factors)


def told_places(
    graph: ProblemGraph, places: Mapping[str, tuple[int, int]], culprit: str | None, *, but: str | None
) -> str:
    """Return where the batches are that a culprit saw, its own first; those of all problems if it is not known.

    Args:
        graph: The problems.
        places: As `Supply.places` returns them.
        culprit: The problem whose numbers were wrong.
        but: A problem that took no part.
    """
    seen = graph.names if culprit is None else (culprit, *graph.responders(culprit))
    found = [name for name in seen if name in places and name != but and places[name][1]]
    parts = [f"batch {places[name][1]} of pass {places[name][0]} of problem {name!r}" for name in found]
    return f"; {', '.join(parts)}" if parts else ""


def share(
    graph: ProblemGraph, offers: Mapping[str, Any], ranks: AbstractRanks, stand_ins: dict[Key, Any]
) -> tuple[Drawn, list[str]]:
    """Agree with the other replicas on one batch for each problem.

    Args:
        graph: The problems.
        offers: The batch that this rank has for each; `ENDED` if it has none, None for a problem without batches.
        ranks: The others.
        stand_ins: What this rank computes on where it has none; what it has now is put there for later.

    Returns:
        The batches, and the names of problems of which no rank has any.

    Raises:
        DataError: If no rank has a batch for one of the terms of a loss, but for another.
    """
    parts = {name: _terms(graph, name, offer) for name, offer in offers.items() if offer is not None}
    keys = [(name, index) for name, found in parts.items() for index in range(len(found))]
    counts = {key: _count(parts[key[0]][key[1]], key in stand_ins) for key in keys}
    table = [dict(zip(keys, line, strict=True)) for line in ranks.exchange(list(counts.values()))] if keys else []
    totals = {key: sum(max(line[key], 0.0) for line in table) for key in keys}
    ended = [name for name in parts if not any(totals[key] for key in keys if key[0] == name)]
    for name, index in keys:
        if name not in ended:
            _settle((name, index), parts[name][index], table, counts, ranks, stand_ins)
    drawn = Drawn({name: None for name, offer in offers.items() if offer is None})
    for name in parts:
        if name in ended:
            continue
        own = [key for key in keys if key[0] == name]
        chosen = [stand_ins[key] for key in own]
        drawn.batches[name] = tuple(chosen) if isinstance(graph[name].loss, Sum) else chosen[0]
        drawn.factors[name] = tuple(max(counts[key], 0.0) * ranks.replicas / totals[key] for key in own)
    return drawn, ended


def _settle(
    key: Key,
    batch: Any,
    table: Sequence[Mapping[Key, float]],
    counts: Mapping[Key, float],
    ranks: AbstractRanks,
    stand_ins: dict[Key, Any],
) -> None:
    """See to it that `stand_ins` has what this rank computes a term on: its batch, one of before, or one that is lent.

    Raises:
        DataError: If no rank has an example for it.
    """
    owner = next((number for number, line in enumerate(table) if line[key] > 0), None)
    if owner is None:
        raise DataError(f"problem {key[0]!r}: no rank has an example for term {key[1] + 1} of its loss")
    if counts[key] > 0:
        stand_ins[key] = batch
    if any(line[key] < 0 for line in table):
        stand_ins.setdefault(key, ranks.lend(batch if counts[key] > 0 else None, owner))


def _begun(position: FeedPosition) -> int:
    return (position.start or position.now).order


def _terms(graph: ProblemGraph, name: str, offer: Any) -> Sequence[Any]:
    """Return the batch of each term of a loss."""
    loss = graph[name].loss
    if not isinstance(loss, Sum):
        return [offer]
    return [ENDED] * len(loss.terms) if offer is ENDED else loss.batches(offer)


def _count(batch: Any, stands_in: bool) -> float:
    """Return the number of examples; 0 for none, and -1 if nothing can stand in for them."""
    count = 0 if batch is ENDED else examples(batch)
    return float(count) if count or stands_in else -1.0
