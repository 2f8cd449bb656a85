"""The proximal term that holds one stage of an interleaving near the stage before."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from mlo.errors import ConfigError, DivergenceError, GraphError, StabilityError
from mlo.update import Learned
from mlo.vector import Values

log = logging.getLogger("mlo")

StepSize = float | Callable[[int], float]


@dataclass(frozen=True)
class Proximal:
    """The term lambda * |W - W_prev|^2 over shared parameters, taken by one of two steps.

    With W_half the result of the learner's own update (W - eta g for plain SGD) and c = 2 * eta * lambda:

        implicit:  W' = (W_half + c W_prev) / (1 + c)      the proximal step; stable for every lambda
        explicit:  W' = W_half - c (W - W_prev)            gradient descent on the sum (Eq. 7 of the source)

    Both have the same fixed points. The explicit step multiplies the gap to the stage before by 1 - c (where the loss
    is flat), so that it diverges for c >= 2 and is refused; for c > 1 it overshoots.

    Attributes:
        weight: lambda >= 0; multiplies the *sum* of squares. A number, or `mlo.Learned` that makes one from outer
            variables, as in `mlo.Learned(lambda v: v.strength.exp(), reads=["strength"])`.
        step_size: eta, which an update does not tell: a number, or a function of the number of updates made so far.
        form: Which step.
        anchor: "none" as in the source, where the first stage is held near nothing; or "cyclic", an extension of this
            library: the first stage is held near the last stage's value of before the outer step, as a constant.
        allow_unstable: Take the explicit step in spite of c >= 2.

    Raises:
        ConfigError: If a setting is out of range.
        StabilityError: If the explicit step would diverge.

    Source: Interleaving Learning, with Application to Neural Architecture Search (Ban, Xie, 2021), equations 5 to 7.
    The implicit form is ours; it is the proximal point step of that term.

    Examples:
        >>> import mlo
        >>> a, b, rho = mlo.Proximal(20.0, step_size=0.025).coefficients(0)  # c = 2 * 0.025 * 20 = 1
        >>> rho
        0.5
    """

    weight: float | Learned
    step_size: StepSize
    form: Literal["implicit", "explicit"] = "implicit"
    anchor: Literal["none", "cyclic"] = "none"
    allow_unstable: bool = False

    def __post_init__(self) -> None:
        """Check the settings and the strength at the first update."""
        if not isinstance(self.weight, Learned):
            _check_weight("Proximal", self.weight)
        if not callable(self.step_size) and (
            isinstance(self.step_size, bool) or not isinstance(self.step_size, int | float)
        ):
            raise ConfigError(f"Proximal: step_size must be a number or a schedule, got {self.step_size!r}")
        if self.form not in ("implicit", "explicit"):
            raise ConfigError(f"Proximal: form must be 'implicit' or 'explicit', got {self.form!r}")
        if self.anchor not in ("none", "cyclic"):
            raise ConfigError(f"Proximal: anchor must be 'none' or 'cyclic', got {self.anchor!r}")
        if self.form == "explicit" and not isinstance(self.weight, Learned) and 1 < self.strength(0) < 2:
            log.warning("Proximal: the explicit step overshoots, c = 2*eta*lambda = %.3g > 1", self.strength(0))

    def weight_from(self, owner: str, others: Values) -> Any:
        """Return lambda at the values that it is learned from, or as it was given.

        Args:
            owner: Name of the problem that is held.
            others: Values of what `reads` names.

        Raises:
            ConfigError: If it is out of range.
            DivergenceError: If it is learned and not finite.
        """
        if not isinstance(self.weight, Learned):
            return self.weight
        weight = self.weight.value(owner, others)
        if isinstance(weight, Tensor) and weight.numel() == 1 and not math.isfinite(_number(weight)):
            names = ", ".join(map(repr, self.weight.reads))
            what = f"problem {owner!r}: its proximal weight, learned from {names}, is {_number(weight)}"
            raise DivergenceError(what, "lower the step size of that, or bound it by clamp", problem=owner)
        _check_weight(f"problem {owner!r}: Proximal", weight)
        if not isinstance(weight, Tensor) or not weight.requires_grad:
            names = ", ".join(map(repr, self.weight.reads))
            cure = "return a tensor made of them, such as v.strength.exp()"
            raise GraphError(f"problem {owner!r}: its proximal weight does not depend on {names}: {cure}")
        return weight.reshape(())

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the problems that lambda is learned from."""
        return self.weight.reads if isinstance(self.weight, Learned) else ()

    def strength(self, count: int, weight: Any = None) -> Any:
        """Return c = 2 * eta * lambda at an update.

        Args:
            count: Updates made before.
            weight: lambda, if it is learned.

        Raises:
            ConfigError: If the step size is not positive, or lambda is learned and not given.
            StabilityError: If the explicit step would diverge.
        """
        if weight is None:
            if isinstance(self.weight, Learned):
                raise ConfigError("Proximal: its weight is learned, so it has no strength of its own: give its value")
            weight = self.weight
        eta = self.step_size(count) if callable(self.step_size) else self.step_size
        # A schedule may end at zero, where nothing moves; a constant may not.
        if not (0 <= eta < math.inf and (eta > 0 or callable(self.step_size))):
            raise ConfigError(f"Proximal: step_size must be positive and finite, got {eta!r} at update {count}")
        c = 2.0 * eta * weight
        size = _number(c)
        if self.form == "explicit" and size >= 2.0 and not self.allow_unstable:
            raise StabilityError(
                f"Proximal: the explicit step diverges: c = 2*eta*lambda = 2*{eta:g}*{_number(weight):g} = {size:g} >= "
                f"2, so each update multiplies the gap to the stage before by {1 - size:g}. Use form='implicit', or a "
                f"weight below 1/eta = {1 / eta:g}, or insist with allow_unstable=True"
            )
        return c

    def coefficients(self, count: int) -> tuple[float, float, float]:
        """Return (a, b, rho) of W' = a W - b eta g + rho W_prev, for an update W_half = W - eta g.

        Raises:
            ConfigError: If lambda is learned.
        """
        c = self.strength(count)
        return (1.0 - c, 1.0, c) if self.form == "explicit" else (1 / (1 + c), 1 / (1 + c), c / (1 + c))


def _number(value: Any) -> float:
    return float(value.detach()) if isinstance(value, Tensor) else float(value)


def _check_weight(what: str, weight: Any) -> None:
    single = isinstance(weight, Tensor) and weight.numel() == 1
    plain = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not (single or plain) or not 0 <= _number(weight) < math.inf:
        raise ConfigError(f"{what}: weight must be a finite number >= 0, got {weight!r}")
