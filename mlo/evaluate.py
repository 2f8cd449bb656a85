"""The gradient of one loss alone, all that it sees directly being given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from mlo.autocast import Autocast, lowered, present_precision
from mlo.autodiff import cut, named_vjp
from mlo.context import Context
from mlo.errors import LossError, MLOError
from mlo.flat import Flat
from mlo.hypergradient.base import Evaluation
from mlo.normalized import written_out
from mlo.parallel import AbstractRanks
from mlo.parallel.present import evaluating
from mlo.pieces import Piece, described, pieces
from mlo.reads import check_reads, check_second_derivatives, is_checked
from mlo.rng import drawn_seed, seeded
from mlo.scaling import Scaling
from mlo.vector import Params, Values, add, tensors, zeros_like
from mlo.view import View
from mlo.writable import Writable


def loss_gradient(context: Context, name: str, wrt: set[str], *, differentiable: bool, stationary: bool) -> Evaluation:
    """Differentiate one loss with respect to what it sees directly: piece by piece, on all ranks that share it."""
    problem, buffers = context.graph[name], Writable(context.buffers[name])
    share = _Share.of(context, name, differentiable=differentiable)
    precision = present_precision(problem.precision)
    scaling = _scaling(context, name, precision, differentiable=differentiable)
    losses, parts = list[Tensor](), dict[str, Params]()
    used: set[str] | None = None if is_checked(problem) else set()
    with torch.enable_grad():
        present: Values = {other: context.values[other] for other in (name, *problem.dependencies)}
        # What is differentiable and has a history is inside of another gradient that will be differentiated.
        deep = differentiable and any(root.grad_fn is not None for p in present.values() for root in Flat.of(p).roots)
        if differentiable:
            present = {other: scaling.entered(share.forked(params)) for other, params in present.items()}
        leaves = {o: cut(v, differentiable=differentiable) for o, v in present.items() if o in wrt}
        present = {**present, **leaves}
        for index, piece in enumerate(share.pieces):
            with share.drawing(index), written_out(deep):
                loss = _loss(context, name, present, buffers, piece, used, precision, differentiable=differentiable)
            if used is not None:
                whole = index == len(share.pieces) - 1 and not share.divided
                check_reads(context.graph, problem, used if whole else problem.reads, loss, present)
            if differentiable:
                check_second_derivatives(problem, loss, present)
            loss = loss if piece.factor == 1.0 else loss * piece.factor
            if stationary and index == 0 and share.first:
                loss = _with_penalty(context, name, loss, present)
            found = named_vjp([loss], leaves, [scaling.cotangent(loss)], differentiable=differentiable)
            parts = found if not parts else parts | {o: add(parts.get(o), part) for o, part in found.items()}
            losses.append(loss.detach())
        if len(losses) > 1:
            context.tally.terms.append((name, [piece.term for piece in share.pieces], losses))
        total = losses[0] if len(losses) == 1 else _added(losses, present[name])
        parts = scaling.left(total, parts)
    context.tally.gradients += 1
    seen = share.joined(Evaluation(total, parts, buffers.after()), leaves, buffers)
    first, _ = context.tally.losses.get(name, (seen.loss, None))
    context.tally.losses[name] = first, seen.loss
    if not share.whole:  # all ranks are to tell the same of what was lost on one
        scaling.look(seen.loss, seen.parts)
    return seen


def _added(losses: Sequence[Tensor], at: Params) -> Tensor:
    """Return the sum of losses; of none, zero."""
    zero = torch.zeros((), dtype=torch.float64, device=Flat.of(at).vectors[0].device)
    return torch.stack(list(losses)).sum() if losses else zero


def _scaling(context: Context, name: str, precision: Autocast | None, *, differentiable: bool) -> Scaling:
    factor = 1.0 if precision is None else precision.factor

    def doubt(lost: Tensor) -> None:
        context.tally.overflows.append((lost, name, factor))

    return Scaling(factor, doubt, differentiable=differentiable)


@dataclass(frozen=True, eq=False)
class _Share:
    """What of a loss this rank computes.

    Attributes:
        pieces: Its pieces.
        ranks: Who shares it.
        divided: Whether members have other pieces.
        factor: The mean of what this rank's terms are multiplied by.
        seed: Of the pieces, where they are divided.
    """

    pieces: Sequence[Piece]
    ranks: AbstractRanks
    divided: bool
    factor: float
    seed: int | None

    @staticmethod
    def of(context: Context, name: str, *, differentiable: bool) -> _Share:
        """Divide the loss of problem `name`."""
        problem, ranks, factors = context.graph[name], context.ranks, context.factors.get(name, ())
        found = pieces(problem.loss, context.batches.get(name), chunks=problem.accumulate, factors=factors)
        # A member without the graph of a piece cannot differentiate it again, nor have the buffers that it wrote.
        divided = ranks.members > 1 and len(found) > 1 and not differentiable and not context.buffers[name]
        mine = found[ranks.member :: ranks.members] if divided else found
        factor = sum(factors) / len(factors) if factors else 1.0
        return _Share(mine, ranks, divided, factor, drawn_seed() if divided else None)

    @property
    def first(self) -> bool:
        """Whether this rank adds what is to be added once."""
        return not self.divided or self.ranks.member == 0

    def drawing(self, index: int) -> AbstractContextManager[None]:
        """Where members have other pieces, let each draw numbers of its own, so that their generators agree."""
        return (
            nullcontext() if self.seed is None else seeded(self.seed + self.ranks.member + index * self.ranks.members)
        )

    @property
    def whole(self) -> bool:
        """Whether nobody else has a share."""
        return self.ranks.replicas == 1 and not self.divided

    def forked(self, params: Params) -> Params:
        """Return a value that the loss sees; cotangents on it will be averaged over replicas."""
        flat = Flat.of(params)
        roots = flat.roots if not self.whole else []
        tracked = [root for root in roots if root.requires_grad]
        if not tracked:
            return params
        forked = iter(self.ranks.fork(tracked))
        return flat.like_roots([next(forked) if root.requires_grad else root for root in roots])

    def joined(self, seen: Evaluation, leaves: Mapping[str, Flat], buffers: Writable) -> Evaluation:
        """Return the evaluation of the whole loss, on all ranks the same."""
        if self.whole:
            return seen
        wanted = leaves if self.divided else seen.parts
        parts = {o: Flat.of(seen.parts[o] if o in seen.parts else zeros_like(leaves[o])) for o in wanted}
        if self.divided:  # in one form on all, whatever the number of pieces: norms of it are to have the same bits
            parts = {o: Flat(part.layout, vectors=part.vectors) for o, part in parts.items()}
        roots = [root for part in parts.values() for root in part.roots]
        moves = buffers.moves()
        weighted = [value * self.factor for value in moves.values()]
        # Members that have no piece do not know the type of the loss.
        own = seen.loss.double() if self.divided else seen.loss
        loss, *found = self.ranks.join([own, *roots, *weighted], divided=self.divided)
        rest = iter(found)
        parts = {o: part.like_roots([next(rest) for _ in part.roots]) for o, part in parts.items()}
        moved = {name: buffers.before(name) + next(rest).detach() for name in moves}
        after = {**buffers.after(), **moved} if moved else seen.buffers
        return Evaluation(loss.detach(), dict(parts), after)


def _with_penalty(context: Context, name: str, loss: Tensor, present: Values) -> Tensor:
    rule = context.graph[name].rule
    if rule is None:
        return loss
    stored = {other: context.stored[other] for other in rule.remembers}
    penalty = rule.penalty(present[name], {**stored, **present})
    return loss if penalty is None else loss + penalty


def call_loss(context: Context, name: str, present: Values, buffers: Writable) -> Tensor:
    """Return the whole loss of problem `name` on this rank's batch, after the checks that belong to its first call."""
    problem = context.graph[name]
    used: set[str] | None = None if is_checked(problem) else set()
    piece = Piece(problem.loss, context.batches.get(name))
    loss = _loss(
        context, name, present, buffers, piece, used, present_precision(problem.precision), differentiable=True
    )
    if used is not None:
        check_reads(context.graph, problem, used, loss, present)
    return loss


def _loss(
    context: Context,
    name: str,
    present: Values,
    buffers: Writable,
    piece: Piece,
    used: set[str] | None,
    precision: Autocast | None,
    *,
    differentiable: bool,
) -> Tensor:
    """Show a piece of a loss what it may see, and check what it returns."""
    graph, problem = context.graph, context.graph[name]
    shown = {}
    for other in (name, *problem.reads):
        # Reading a module must not change its buffers: they belong to the problem that trains it.
        own = buffers if other == name else Writable(context.buffers[other])
        shown[other] = graph[other].kind.present(present[other], own.pieces)
    versions, device = _versions(present), tensors(present[name])[0].device.type
    cast = lowered(precision, device, differentiable=differentiable)
    try:
        with evaluating(context.ranks, piece.factor), cast:
            loss = piece.loss(View(name, shown, used=used), piece.batch)
    except MLOError:  # such as that of another rank, in a layer that waits for it
        raise
    except Exception as error:
        if isinstance(error, RuntimeError):  # torch may refuse what was written to, without saying whose it is
            _check_unchanged(name, present, versions)
        error.add_note(f"raised in the loss of problem {name!r}; its batch: {described(piece.batch)}")
        raise
    _check_unchanged(name, present, versions)
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise LossError(f"the loss of problem {name!r} must return a scalar tensor, got {got}: reduce it, e.g. .mean()")
    return loss if precision is None or loss.dtype != precision.dtype else loss.float()


def _check_unchanged(name: str, present: Values, versions: Mapping[str, int]) -> None:
    """Raise if the loss of problem `name` wrote into what it was shown."""
    for other, version in _versions(present).items():
        if version != versions[other]:
            what = f"the loss of problem {name!r} changed {other!r} in place"
            raise LossError(f"{what}: make a copy first, e.g. v.{other}.clone()")


def _versions(values: Values) -> dict[str, int]:
    """Return a number for each problem that grows whenever one of its tensors is changed in place."""
    return {name: sum(value._version for value in tensors(params)) for name, params in values.items()}
