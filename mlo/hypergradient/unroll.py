"""Differentiate through the optimizer's steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from mlo.errors import ConfigError
from mlo.hypergradient.base import AbstractResponse, Node, Pullback, Trace
from mlo.hypergradient.memory import AbstractMemory, AbstractTape, Course
from mlo.hypergradient.record import Record
from mlo.hypergradient.run import run
from mlo.hypergradient.second_order import AbstractProduct, Exact, check_product
from mlo.vector import Params


@dataclass(frozen=True)
class Unroll(AbstractResponse):
    """x*(z) is the end of T update steps, differentiated as such; their start is a constant unless it is handed over.

    With x_{t+1}, s_{t+1} = U(x_t, g_t, s_t, z) the user's real update (momentum, Adam, weight decay, ...) and
    g_t = G(x_t, z), the pullback goes through the steps from last to first: the vector-Jacobian product of U turns the
    cotangent on (x_{t+1}, s_{t+1}) into one on (x_t, g_t, s_t, z), and one second-order product turns that on g_t into
    more on (x_t, z).

    Exact to rounding for any number of steps, converged or not, unless they are truncated. `memory` decides what is
    kept of them; every choice gives the same gradient. Inside an exact product of a problem above, which needs the
    steps' whole history, all of them act as `Record`.

    Attributes:
        product: How second-order products are taken.
        truncate: How many steps, the last ones, are differentiated; None for all. The point before them is a constant.
            That is biased on purpose: what earlier steps owe to z is left out. Where each step contracts by a factor r
            in x, that is of the order of r^truncate.
        memory: What is kept of the steps: `Record()`, `Recompute()` or `Forward()`.

    Raises:
        ConfigError: If a setting is out of range, or two contradict each other.

    Source: Forward and Reverse Gradient-Based Hyperparameter Optimization (Franceschi et al., 2017), algorithm 1;
    truncation: Truncated Back-propagation for Bilevel Optimization (Shaban, Cheng, Hatch, Boots, 2019), K-RMD.

    Examples:
        >>> import mlo, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.w**2, torch.tensor(3.0), reads=["w"])
        >>> w = mlo.Problem("w", lambda v, _: (v.w - v.x) ** 2, torch.zeros(()), reads=["x"], update=torchopt.sgd(0.25),
        ...             steps=2, response=mlo.Unroll())
        >>> mlo.hypergradient(mlo.ProblemGraph([x, w]), of="x")  # 2 w dw/dx with w = 0.75 x after two steps
        tensor(3.3750)
    """

    product: AbstractProduct = field(default_factory=Exact, kw_only=True)
    truncate: int | None = field(default=None, kw_only=True)
    memory: AbstractMemory = field(default_factory=Record, kw_only=True)

    differentiates_update: ClassVar[bool] = True
    differentiates_steps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the settings."""
        check_product("Unroll", self.product)
        k = self.truncate
        if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
            cure = "for no step at all use mlo.FirstOrder()"
            raise ConfigError(f"Unroll: truncate must be a whole number >= 1, or None; got {k!r}: {cure}")
        if not isinstance(self.memory, AbstractMemory):
            raise ConfigError(f"Unroll: memory must be an instance such as mlo.Recompute(), got {self.memory!r}")
        if self.memory.exact_only and not self.product.exact:
            cure = "leave product at mlo.Exact(), or use mlo.Recompute()"
            raise ConfigError(f"Unroll: {self.memory} takes exact products only, got {self.product}: {cure}")

    def respond(self, node: Node, *, differentiable: bool) -> Trace:
        """Make the steps; with `differentiable`, recording each."""
        others = node.read()
        steps = node.steps if self.truncate is None else min(self.truncate, node.steps)
        before = run(node, node.steps - steps)  # is not differentiated, so that its end is a constant
        handed = node.start_reads if steps == node.steps else ()
        start = node.start(others) if handed and differentiable else before.end
        course = Course(node, self.product, others, start, steps, differentiable, handed)
        # Autograd can only go through a history that is there.
        trace = (Record() if differentiable else self.memory).solve(course)
        return replace(trace, losses=(*before.losses, *trace.losses), steps=before.steps + trace.steps)

    def differences(self, below: int) -> int:
        """Return how many finite differences are nested in a pullback."""
        return self.product.differences(below)

    def pullback(
        self, node: Node, trace: Trace, cotangent: Params, wanted: Sequence[str], *, differentiable: bool
    ) -> Pullback:
        """Go through the steps that were kept or are made again."""
        tape: AbstractTape = trace.record
        return Pullback(tape.pull(cotangent, wanted, differentiable=differentiable))
