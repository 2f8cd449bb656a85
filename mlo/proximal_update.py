"""A learner's update, followed by the proximal step that holds it near another problem."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mlo.errors import StabilityError
from mlo.flat import Flat
from mlo.proximal import Proximal
from mlo.update import State, UpdateRule
from mlo.update.base import Recognize
from mlo.vector import Params, Values

_ADAPTIVE = {f"_scale_by_{name}" for name in ("adam", "adamax", "radam", "rms", "rss", "stddev", "adadelta")}
_ADAPTIVE |= {"Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Muon", "NAdam", "RAdam", "RMSprop"}
_ADAPTIVE |= {"Rprop"}
_CLIPPING = {"Clipped", "clip_norm", "clip_grad_norm"}


@dataclass(frozen=True, eq=False)
class ProximalUpdate(UpdateRule):
    """A learner's update followed by the proximal step on its shared parameters.

    Attributes:
        inner: The learner's own update.
        proximal: The term.
        anchor: Name of the problem whose value is W_prev.
        shared: Names of the parameters that are held.
        stored: Whether W_prev is the anchor's stored value, a constant, instead of its answer.
        owner: Name of the problem that is held.
    """

    inner: UpdateRule
    proximal: Proximal
    anchor: str
    shared: frozenset[str]
    stored: bool = False
    owner: str = ""

    def placed(self, owner: str, variable: Any, recognize: Recognize) -> UpdateRule:
        """Return the rule of a problem of that name."""
        return replace(self, owner=owner)

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        """The inner rule's reads, the anchor, and what lambda is learned from."""
        anchor = () if self.stored else (self.anchor,)
        return tuple(dict.fromkeys((*self.inner.reads, *anchor, *self.proximal.reads)))

    @property
    def remembers(self) -> tuple[str, ...]:  # type: ignore[override]
        """The anchor, if it is a constant."""
        return (*self.inner.remembers, self.anchor) if self.stored else self.inner.remembers

    def ingredients(self) -> set[str]:
        """Return those of the inner rule."""
        return self.inner.ingredients()

    def rests_elsewhere(self) -> str | None:
        """Return why the rule does not come to rest where loss and penalty are stationary, None if it does."""
        adaptive = sorted(self.ingredients() & _ADAPTIVE)
        if adaptive and self.proximal.weight != 0:
            return f"a proximal step after {adaptive[0].removeprefix('_scale_by_')} balances no gradient: use sgd"
        if self.ingredients() & _CLIPPING and self.proximal.weight != 0:
            return "at rest its gradient balances the proximal term and may be clipped: leave out the clipping"
        return self.inner.rests_elsewhere()

    def undifferentiable(self) -> str | None:
        """Return that of the inner rule."""
        return self.inner.undifferentiable()

    def init(self, params: Params) -> State:
        """Return (0 updates made, the inner state)."""
        return (0, self.inner.init(params))

    def apply(self, params: Params, gradient: Params, state: State, others: Values) -> tuple[Params, State]:
        """Make the inner update, then the proximal step."""
        count, inner = state
        half, inner = self.inner.apply(params, gradient, inner, others)
        c = self.strength(count, others)
        ends = Flat.of(half)
        starts, previous = Flat.of(params).arranged(ends.layout), Flat.of(others[self.anchor])
        moved: list[list[Tensor]] = [[] for _ in ends.vectors]
        for run in ends.layout.runs(previous.layout, self.shared):
            piece = run.of(ends.vectors)
            if run.other is not None:
                piece = self._step(piece, run.of(starts.vectors), run.there(previous.vectors), c)
            moved[run.vector].append(piece)
        vectors = [parts[0] if len(parts) == 1 else torch.cat(parts) for parts in moved]
        return Flat(ends.layout, vectors=vectors), (count + 1, inner)

    def strength(self, count: int, others: Values) -> Any:
        """Return c at an update.

        Args:
            count: Updates made before.
            others: Values of what lambda is learned from.

        Raises:
            StabilityError: If the explicit step would diverge; the problem, and the one it is held near, are named.
        """
        try:
            return self.proximal.strength(count, self.proximal.weight_from(self.owner, others))
        except StabilityError as error:
            raise StabilityError(f"problem {self.owner!r}, held near {self.anchor!r}: {error}") from None

    def _step(self, half: Tensor, start: Tensor, previous: Tensor, c: float | Tensor) -> Tensor:
        previous = previous.to(half)  # an anchor of another type changes nothing of the type of what it holds
        if self.proximal.form == "explicit":
            return half - c * (start - previous)
        return (half + c * previous) / (1.0 + c)

    def penalty(self, params: Params, others: Values) -> Tensor | None:
        """Return lambda * |W - W_prev|^2, the term whose gradient vanishes with the loss's at a fixed point.

        So it is where the inner update, at rest, moves by step_size times the gradient: plain SGD does; SGD with
        momentum beta does if step_size is lr / (1 - beta); Adam does not, and `Implicit` is then an approximation.
        """
        own, previous = Flat.of(params), Flat.of(others[self.anchor])
        runs = [run for run in own.layout.runs(previous.layout, self.shared) if run.other is not None]
        gaps: list[Any] = [((run.of(own.vectors) - run.there(previous.vectors)) ** 2).sum() for run in runs]
        inner = self.inner.penalty(params, others)
        total: Tensor = self.proximal.weight_from(self.owner, others) * sum(gaps)
        return total if inner is None else total + inner
