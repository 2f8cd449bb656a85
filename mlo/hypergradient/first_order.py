"""Take the answer as a constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mlo.hypergradient.base import AbstractResponse, Node, Pullback, Trace
from mlo.hypergradient.run import run
from mlo.vector import Params


@dataclass(frozen=True)
class FirstOrder(AbstractResponse):
    """d x*(z) / d z = 0: the hypergradient is the direct derivative at the answer.

    The problem is solved all the same. With `steps=0`, for `mlo.hypergradient`, its value is taken as it stands; in an
    engine, `steps=1` alternates the two updates, which is the first-order variant of DARTS.

    Source: DARTS: Differentiable Architecture Search (Liu, Simonyan, Yang, 2019), section 2.3, first-order
    approximation (xi = 0).

    Examples:
        >>> import mlo, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.w**2, torch.tensor(3.0), reads=["w"])
        >>> w = mlo.Problem("w", lambda v, _: (v.w - v.x) ** 2, torch.zeros(()), reads=["x"], update=torchopt.sgd(0.25),
        ...             steps=2, response=mlo.FirstOrder())
        >>> mlo.hypergradient(mlo.ProblemGraph([x, w]), of="x")  # 2 w dw/dx with dw/dx left out
        tensor(0.)
    """

    transmits: ClassVar[bool] = False

    def respond(self, node: Node, *, differentiable: bool) -> Trace:
        """Run the optimizer; the answer has no history in either case."""
        return run(node)

    def pullback(
        self, node: Node, trace: Trace, cotangent: Params, wanted: Sequence[str], *, differentiable: bool
    ) -> Pullback:
        """Return zero."""
        return Pullback()
