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
    row = [_count(parts[name][index], (name, index) in stand_ins) for name, index in keys]
    table = ranks.exchange(row) if keys else []
    totals = {key: sum(max(line[column], 0.0) for line in table) for column, key in enumerate(keys)}
    ended = [name for name, found in parts.items() if not any(totals[name, index] for index in range(len(found)))]
    for column, key in enumerate(keys):
        name, index = key
        if name in ended:
            continue
        if not totals[key]:
            raise DataError(f"problem {name!r}: no rank has an example for term {index + 1} of its loss")
        if row[column] > 0:
            stand_ins[key] = parts[name][index]
        if any(line[column] < 0 for line in table):
            owner = next(number for number, line in enumerate(table) if line[column] > 0)
            lent = ranks.lend(parts[name][index] if row[column] > 0 else None, owner)
            stand_ins.setdefault(key, lent)
    drawn = Drawn({name: None for name, offer in offers.items() if offer is None})
    for name, found in parts.items():
        if name in ended:
            continue
        chosen = [stand_ins[name, index] for index in range(len(found))]
        drawn.batches[name] = tuple(chosen) if isinstance(graph[name].loss, Sum) else chosen[0]
        counts = [max(row[keys.index((name, index))], 0.0) for index in range(len(found))]
        drawn.factors[name] = tuple(n * ranks.replicas / totals[name, i] for i, n in enumerate(counts))
    return drawn, ended


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
