"""Clipping of a gradient, differentiably."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import optree
import torch
from torch import Tensor
from torchopt.base import GradientTransformation

from mlo.errors import ConfigError
from mlo.update.base import Recognize, State, UpdateRule
from mlo.vector import Params, Values, dot, mapped, scaled


def clip_norm(max_norm: float) -> GradientTransformation:
    """Scale a gradient g by min(1, max_norm / |g|), differentiably.

    For use in `torchopt.chain(mlo.clip_norm(5.0), torchopt.sgd(0.1))`. torchopt's own clipping treats |g| as a
    constant when it is differentiated. `mlo.Clipped` does the same around any update.

    Args:
        max_norm: The largest Euclidean norm, over all tensors together, that passes unchanged.

    Returns:
        A torchopt gradient transformation without state.

    Raises:
        ConfigError: If `max_norm` is not positive.

    Examples:
        >>> import mlo, torch, torchopt
        >>> update = torchopt.chain(mlo.clip_norm(1.0), torchopt.sgd(1.0))
        >>> w = torch.zeros(2)
        >>> update.update(torch.tensor([3.0, 4.0]), update.init(w), inplace=False)[0]
        tensor([-0.6000, -0.8000])
    """
    _check_limit("clip_norm: max_norm", max_norm)

    def update(updates: Params, state: State, *, params: Any = None, inplace: bool = True) -> tuple[Params, State]:
        found: list[Tensor] = optree.tree_leaves(updates)  # type: ignore[arg-type]
        factor = _factor({str(place): leaf for place, leaf in enumerate(found)}, max_norm)
        return optree.tree_map(lambda g: factor * g, updates), state  # type: ignore[arg-type, return-value]

    return GradientTransformation(lambda params: (), update)


@dataclass(frozen=True, eq=False)
class Clipped(UpdateRule):
    """An update that is shown a clipped gradient.

    With g the gradient over all tensors of the variable, entries are clipped first, the norm after them:

        g <- max(-max_value, min(max_value, g)),        g <- g * min(1, max_norm / |g|)

    Both are differentiated as they stand: where the norm is clipped, through |g|; where an entry is clipped, its
    derivative is zero. (`torch.nn.utils.clip_grad_norm_` divides by |g| + 1e-6 instead of |g|.)

    Attributes:
        update: The update behind: anything that `mlo.Problem` accepts as one.
        max_norm: The largest Euclidean norm, over all tensors together, that passes unchanged; None for any.
        max_value: The largest absolute entry that passes unchanged; None for any.

    Raises:
        ConfigError: If a limit is not positive, or neither is given.

    Examples:
        >>> import mlo, torch, torchopt
        >>> update = mlo.Clipped(torchopt.sgd(1.0), max_norm=1.0)
        >>> x = mlo.Problem("x", lambda v, _: 10 * v.x**2, torch.tensor(3.0), update=update)
        >>> engine = mlo.Engine(mlo.ProblemGraph([x]))
        >>> report = engine.step()
        >>> engine.values["x"]
        tensor(2.)
    """

    update: Any
    max_norm: float | Tensor | None = None
    max_value: float | Tensor | None = None

    def __post_init__(self) -> None:
        """Check the limits."""
        if self.max_norm is None and self.max_value is None:
            raise ConfigError("Clipped: nothing is clipped: give max_norm=5.0 or max_value=1.0")
        for name in ("max_norm", "max_value"):
            if getattr(self, name) is not None:
                _check_limit(f"Clipped: {name}", getattr(self, name))

    def placed(self, owner: str, variable: Any, recognize: Recognize) -> UpdateRule:
        """Return this rule around the rule that `update` stands for."""
        return replace(self, update=recognize(owner, self.update, variable))

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the update behind."""
        return self._rule.reads

    @property
    def remembers(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the update behind."""
        return self._rule.remembers

    @property
    def _rule(self) -> UpdateRule:
        if not isinstance(self.update, UpdateRule):
            raise ConfigError("Clipped: belongs to no problem yet: give it to one, mlo.Problem(..., update=...)")
        return self.update

    def init(self, params: Params) -> State:
        """Return the state of the update behind."""
        return self._rule.init(params)

    def apply(self, params: Params, gradient: Params, state: State, others: Values) -> tuple[Params, State]:
        """Clip, then make the update."""
        limit = self.max_value
        if limit is not None:
            gradient = mapped(lambda value: value.clamp(-limit, limit), gradient)
        if self.max_norm is not None:
            gradient = scaled(_factor(gradient, self.max_norm), gradient)
        return self._rule.apply(params, gradient, state, others)

    def penalty(self, params: Params, others: Values) -> Tensor | None:
        """Return that of the update behind."""
        return self._rule.penalty(params, others)

    def ingredients(self) -> set[str]:
        """Return those of the update behind, and "Clipped"."""
        return self._rule.ingredients() | {"Clipped"}

    def rests_elsewhere(self) -> str | None:
        """Return that of the update behind: a gradient of zero is never clipped."""
        return self._rule.rests_elsewhere()

    def undifferentiable(self) -> str | None:
        """Return that of the update behind."""
        return self._rule.undifferentiable()


def _check_limit(what: str, limit: Any) -> None:
    """Raise unless `limit` is a positive number, or one in a tensor."""
    if isinstance(limit, Tensor):
        positive = limit.numel() == 1 and bool(limit > 0)
    else:
        positive = isinstance(limit, int | float) and not isinstance(limit, bool) and limit > 0
    if not positive:
        raise ConfigError(f"{what} must be positive, got {limit!r}")


def _factor(gradient: Params, max_norm: float | Tensor) -> Tensor:
    """Return min(1, max_norm / |g|)."""
    # A square, unlike a norm, has derivatives of all orders where a tensor is zero; so has the clamped root.
    square = dot(gradient, gradient)
    factor: Tensor = torch.where(square > max_norm**2, max_norm / square.clamp(min=max_norm**2).sqrt(), 1.0)
    return factor
