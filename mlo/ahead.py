"""Gradients that do not depend on each other's answers, taken before the solves that need them, by several members.

In an interleaving of one-step stages, W'_l = a W_l - b eta g_l + rho W'_{l-1}, each gradient g_l is taken at the stored
W_l: all of them are independent, and so are their second-order products. Only the recursion is serial, and it costs
next to nothing. So members take turns with the gradients, tell each other the results, and all go through the
recursion; on the way back each takes the products of its own stages, and the sums go into one cotangent at the end.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mlo.flat import Flat
from mlo.hypergradient import FirstOrder, Record, Unroll
from mlo.hypergradient.base import AbstractResponse, Evaluation, Linearization, Node
from mlo.hypergradient.run import own_gradient
from mlo.hypergradient.second_order import AbstractProduct
from mlo.parallel import AbstractRanks
from mlo.rng import drawn_seed, seeded
from mlo.vector import Params, add, zeros_like


@dataclass(eq=False)
class Ledger:
    """What the products of members have left on the inputs of their problems, until it is summed.

    Attributes:
        ranks: The members.
        parts: This member's sums, by name.
        open: Names on which any member may have left something.
    """

    ranks: AbstractRanks
    parts: dict[str, Params] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)

    def enter(self, name: str, part: Params) -> None:
        """Add to this member's sum."""
        self.parts[name] = add(self.parts.get(name), part)

    def settle(self, table: dict[str, Params], name: str, at: Params) -> None:
        """Add the sum over all members for a name to a table; all of them make this call."""
        if name not in self.open:
            return
        self.open.discard(name)
        part = self.parts.pop(name) if name in self.parts else zeros_like(at)
        own = Flat.of(part).arranged(Flat.of(at).layout)
        table[name] = add(table.get(name), Flat(own.layout, vectors=self.ranks.over_members(own.vectors)))


@dataclass(frozen=True, eq=False)
class Ahead(Linearization):
    """A gradient that was taken ahead, and its products, which its owner takes alone.

    Attributes:
        name: The problem.
        reads: What its loss reads.
        seen: The evaluation.
        own: The linearization; None on members that do not own it, or where no products follow.
        ledger: Where products go.
    """

    name: str
    reads: frozenset[str]
    seen: Evaluation
    own: Linearization | None
    ledger: Ledger

    @property
    def gradient(self) -> Params:  # type: ignore[override]
        """The gradient."""
        return self.seen.parts[self.name]

    def product(self, v: Params, wanted: Sequence[str]) -> dict[str, Params]:
        """Leave the product in the ledger."""
        # Only there: to wait for a sum that is zero would make members take their products one after another.
        self.ledger.open.update(self.reads.intersection(wanted))
        if self.own is not None:
            for name, part in self.own.product(v, wanted).items():
                self.ledger.enter(name, part)
        return {}


def taken_ahead(
    nodes: Sequence[tuple[Node, AbstractResponse]], answered: Collection[str], ledger: Ledger, *, products: bool
) -> dict[str, Ahead]:
    """Take the gradients ahead of those that are solved by one step and read no answer, members in turn.

    A start that is handed over is such a read: its stages are solved one after another, by all members alike.

    Args:
        nodes: Problems without others inside, with their rules.
        answered: Names of all problems that are solved in the same sweep.
        ledger: Where second-order products will go.
        products: Whether there may be any.
    """
    chosen = []
    for node, response in nodes:
        recorded = not isinstance(response, Unroll) or isinstance(response.memory, Record)
        known = not products or isinstance(response, FirstOrder | Unroll)
        once = node.steps == 1 and not node.tolerance
        alone = not node.start_reads and not set(node.loss_reads).intersection(answered)
        if once and recorded and known and alone:
            chosen.append((node, response.product if products and isinstance(response, Unroll) else None))
    return _shared(chosen, ledger) if len(chosen) > 1 else {}


def _shared(pairs: Sequence[tuple[Node, AbstractProduct | None]], ledger: Ledger) -> dict[str, Ahead]:
    seed, ranks = drawn_seed(), ledger.ranks
    found: list[Ahead] = []
    for place, (node, product) in enumerate(pairs):
        if place % ranks.members == ranks.member:
            with seeded(seed + place):  # what a loss draws is its own, so that the generators of all members go alike
                found.append(_own(node, product, ledger))
        else:
            found.append(Ahead(node.name, frozenset(node.loss_reads), _blank(node), None, ledger))
    ranks.deal([_numbers(one) for one in found])
    return {one.name: one for one in found}


def _own(node: Node, product: AbstractProduct | None, ledger: Ledger) -> Ahead:
    start, read, reads = node.start(), node.read(), frozenset(node.loss_reads)
    others = {name: read[name] for name in node.loss_reads}
    if product is None:
        return Ahead(node.name, reads, _plain(node.gradient(start, others, (node.name,)), node), None, ledger)
    own = product.linearize(node, start, others)
    return Ahead(node.name, reads, _plain(own.seen, node), own, ledger)


def _plain(seen: Evaluation, node: Node) -> Evaluation:
    """Return the numbers of an evaluation, in the places where others expect them."""
    layout = Flat.of(node.start().params).layout
    gradient = Flat.of(own_gradient(seen, node)).arranged(layout)
    vectors = [vector.detach().contiguous() for vector in gradient.vectors]
    buffers = Flat.of(seen.buffers).arranged(Flat.of(node.start().buffers).layout)
    return Evaluation(seen.loss.double(), {node.name: Flat(layout, vectors=vectors)}, buffers)


def _blank(node: Node) -> Evaluation:
    """Return room for the numbers of an evaluation."""
    start = node.start()
    params, buffers = Flat.of(start.params), Flat.of(start.buffers)
    gradient = Flat(params.layout, vectors=[torch.empty_like(vector) for vector in params.vectors])
    after = Flat(buffers.layout, vectors=[torch.empty_like(vector) for vector in buffers.vectors])
    loss = torch.empty((), dtype=torch.float64, device=params.vectors[0].device)
    return Evaluation(loss, {node.name: gradient}, after)


def _numbers(one: Ahead) -> list[Tensor]:
    return [one.seen.loss, *Flat.of(one.gradient).vectors, *Flat.of(one.seen.buffers).vectors]
