"""One step on everything at once: the answer, the adjoint and the outer variable, none of them solved to the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mlo.checks import check_positive
from mlo.errors import GraphError
from mlo.hypergradient.base import AbstractResponse, Linearization, Node, Pullback, Trace
from mlo.hypergradient.run import advance, filled
from mlo.hypergradient.second_order import Exact
from mlo.linear.base import LinearSolution
from mlo.vector import Params, axpy, constants, detach, dot, norm, ravel, scaled, unravel, zeros_like


@dataclass(frozen=True)
class SingleLoop(AbstractResponse):
    """The adjoint u of `Implicit` as a third variable that an engine trains along with x and z.

    In outer step t, with everything taken at (x_t, z_t, u_t) and c the cotangent on the answer:

        x_{t+1} = U(x_t, G(x_t, z_t)),    u_{t+1} = u_t - step_size * (dG/dx u_t - c),    c . dx/dz := - u_t . dG/dz

    One gradient and one second-order product for each outer step, whatever the number of inner steps that a solve would
    need. The hypergradient is a running estimate: it is right in the limit, when x and u have caught up with z, and
    not before (u starts at zero). So it needs an engine, which remembers u; `mlo.hypergradient` refuses it. The problem
    makes one step, and nothing above it may differentiate its answer again.

    With one batch for each problem this is SOBA. Its variance-reduced sister SABA remembers gradients of each batch,
    which needs batches with identities: no axis of this library.

    Attributes:
        step_size: rho, below 2 over the largest eigenvalue of dG/dx.

    Source: A Framework for Bilevel Optimization that Enables Stochastic and Global Variance Reduction Algorithms
    (Dagreou, Ablin, Vaiter, Moreau, 2022), equations 4 to 6 and algorithm 1.

    Examples:
        >>> import mlo, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.w**2, torch.tensor(3.0), reads=["w"], update=torchopt.sgd(0.1))
        >>> w = mlo.Problem("w", lambda v, _: (v.w - v.x) ** 2, torch.zeros(()), reads=["x"], update=torchopt.sgd(0.5),
        ...             response=mlo.SingleLoop(0.5))
        >>> engine = mlo.Engine(mlo.ProblemGraph([x, w]))
        >>> [round(report.norms["x"], 2) for report in engine.run(3)]  # the adjoint comes after the answer
        [0.0, 0.0, 6.0]
    """

    step_size: float

    assumes_rest: ClassVar[bool] = True
    assumes_stationarity: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the setting."""
        check_positive("SingleLoop", "step_size", self.step_size)

    def respond(self, node: Node, *, differentiable: bool) -> Trace:
        """Answer with the value as it stands, and make the step that the next outer step will see."""
        self._check(node)
        point, others = node.start(), node.read()
        local = Exact().linearize(node, point, others)
        gradient = detach(local.gradient)
        end = advance(node, point, gradient, constants(others), local.seen.buffers)
        return Trace(detach(point.params), end, (local.seen.loss,), norm(gradient), 1, local)

    def pullback(
        self, node: Node, trace: Trace, cotangent: Params, wanted: Sequence[str], *, differentiable: bool
    ) -> Pullback:
        """Take one product with the adjoint of now; move the adjoint for the next outer step."""
        local: Linearization = trace.record
        adjoint = zeros_like(cotangent) if node.adjoint is None else unravel(node.adjoint, cotangent)
        product = local.product(adjoint, (node.name, *wanted))
        curved = filled(product.pop(node.name, None), cotangent)
        gap = axpy(-1.0, cotangent, curved)
        size, length = float(norm(cotangent)), float(dot(adjoint, adjoint))
        solution = LinearSolution(
            ravel(axpy(-self.step_size, gap, adjoint)),
            residual=float(norm(gap)) / size if size else 0.0,
            iterations=1,
            converged=False,
            curvature=float(dot(adjoint, curved)) / length if length else math.nan,
        )
        return Pullback({name: scaled(-1.0, part) for name, part in product.items()}, solution)

    def _check(self, node: Node) -> None:
        what = f"problem {node.name!r} cannot respond by SingleLoop"
        if not node.remembers:
            cause = "its adjoint is trained over the steps of an engine, as a direct answer to the outermost problem"
            cure = "for one hypergradient, or inside another problem, use mlo.Implicit()"
            raise GraphError(f"{what} here: {cause}; {cure}")
        if node.steps != 1:
            raise GraphError(f"{what} with steps={node.steps}: it makes one step in each outer step, so give steps=1")
        if node.tolerance:
            raise GraphError(f"{what} with a tolerance: its one step is never left out, so give tolerance=0")
        # A proximal term is part of dG/dx, whether what it holds to is an answer or a constant.
        for read in (*node.update_reads, *node.update_remembers):
            raise GraphError(f"{what}: its update uses {read!r}; only a loss may read here, so use mlo.Implicit()")
        for read in (*node.start_reads, *node.start_remembers):
            cause = f"it follows its own answer from step to step, and {read!r} hands it another start"
            raise GraphError(f"{what}: {cause}: use mlo.Implicit(), or leave out its start")
