"""Gradients alone: the response of an answer to a force, in place of second derivatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from mlo.autocast import full_precision
from mlo.checks import check_count, check_positive, check_tol
from mlo.errors import DivergenceError, GraphError
from mlo.hypergradient.adjoint import check_converged, spoilt_cotangent
from mlo.hypergradient.base import AbstractResponse, Node, Point, Pullback, Trace
from mlo.hypergradient.rest import check_rest
from mlo.hypergradient.run import advance, check_finite, own_gradient, run
from mlo.hypergradient.second_order import gaps
from mlo.linear.base import LinearSolution
from mlo.rng import RandomState, replayed
from mlo.vector import Params, Values, axpy, constants, norm, not_finite, precision, ravel, scaled, unravel, zeros_like


@dataclass(frozen=True)
class _Record:
    others: Values
    random: RandomState


@dataclass(frozen=True)
class Penalty(AbstractResponse):
    """c . dx*/dz from two solves that are pushed by the cotangent c: first-order gradients only.

    With x_s(z) = argmin_x F(x, z) + s <c, x> / weight, the value function v_s(z) = min_x of the same has
    dv_s/dz = d_z F(x_s, z), and <c, x*(z)> = weight * dv_s/ds at s = 0, so that

        c . dx*/dz = weight / 2 * (d_z F(x_{+1}, z) - d_z F(x_{-1}, z))    + O(weight^-2)
        c . dx*/dz = weight * (d_z F(x_{+1}, z) - d_z F(x*, z))            + O(weight^-1)    with two_sided=False

    Both solves go on from the answer, by the problem's own update (one that settles: with a constant step size, Adam
    jitters around its goal at the scale of the push), in the precision of the variable whatever `Problem.precision`
    says; x* too is solved for again with two_sided=False, as what it lacks of rest would be multiplied by the weight.
    In an engine they start where those of the outer step before ended, relative to the answer (`warm_start`), so that
    few steps suffice. The adjoint of `Implicit` is weight / 2 * (x_{-1} - x_{+1}): it is reported as the solution, with
    |G(x_s, z) + s c / weight| in units of |c| / weight as its residual.

    This is F2SA with the upper loss linearized at the answer, which is what makes it a response rule: it fits any
    problem of any graph. F2SA's own form, which adds the upper loss itself to the lower one, differs by O(1 / weight),
    as much as its error. Below a problem with `Exact` products it is refused, for there it would have to be
    differentiated itself; `FiniteDifference` products above it are fine, and keep everything first-order. The pushed
    solves see the answers below move, so `partial=True` leaves nothing out here.

    Attributes:
        weight: The penalty on the lower objective: large, but rounding grows with it.
        steps: Most updates in each pushed solve.
        tol: Residual at which a pushed solve stops, and counts as converged.
        two_sided: Push both ways: one order more. If not, the solve without a push takes one gradient where the answer
            is at rest.
        warm_start: See above.
        strict: Whether a pushed solve that does not converge raises `UnconvergedError` instead of a warning.

    Source: A Fully First-Order Method for Stochastic Bilevel Optimization (Kwon, Kwon, Wright, Nowak, 2023), equation 3
    and algorithm 1; the two-sided form as in A contrastive rule for meta-learning (Zucchet et al., 2022), section 3.

    Examples:
        >>> import mlo, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.w**2, torch.tensor(3.0), reads=["w"])
        >>> w = mlo.Problem("w", lambda v, _: (v.w - v.x) ** 2, torch.zeros(()), reads=["x"], update=torchopt.sgd(0.25),
        ...             steps=2, response=mlo.Penalty(100.0))
        >>> round(float(mlo.hypergradient(mlo.ProblemGraph([x, w]), of="x")), 3)
        4.501
    """

    weight: float
    steps: int = 100
    tol: float = 1e-3
    two_sided: bool = field(default=True, kw_only=True)
    warm_start: bool = field(default=True, kw_only=True)
    strict: bool = field(default=False, kw_only=True)

    assumes_rest: ClassVar[bool] = True
    assumes_stationarity: ClassVar[bool] = True
    carries_history: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the settings."""
        check_positive("Penalty", "weight", self.weight)
        check_count("Penalty", "steps", self.steps)
        check_tol("Penalty", self.tol)

    def respond(self, node: Node, *, differentiable: bool) -> Trace:
        """Run the optimizer."""
        if differentiable:
            cure = "give the problems above it mlo.FiniteDifference() products, or this one mlo.Implicit()"
            raise GraphError(f"problem {node.name!r} cannot respond by Penalty inside an exact product: {cure}")
        others = constants(node.read())
        trace = run(node)
        check_rest(node, trace, strict=self.strict)
        return replace(trace, record=_Record(others, RandomState.capture()))

    def differences(self, below: int) -> int:
        """Return one more than in the gradient."""
        return below + 1

    def pullback(
        self, node: Node, trace: Trace, cotangent: Params, wanted: Sequence[str], *, differentiable: bool
    ) -> Pullback:
        """Push the answer, and take the difference of two gradients with respect to the inputs."""
        if not_finite(cotangent) is not None:
            check_finite(node.name, trace)
            raise DivergenceError(*spoilt_cotangent(node.name))
        if float(norm(cotangent)) == 0.0:
            return Pullback({name: zeros_like(trace.record.others[name]) for name in wanted})
        adjoint = node.adjoint if self.warm_start else None
        start = scaled(0.0, cotangent) if adjoint is None else unravel(adjoint, cotangent)
        low, high = (-1.0 if self.two_sided else 0.0), 1.0
        with full_precision():
            up, down = (self._pushed(node, trace, cotangent, sign, start) for sign in (high, low))
            plus, minus = (self._inputs(node, trace, side.point, wanted) for side in (up, down))
        scale = self.weight / (high - low)
        gap = axpy(-1.0, up.point.params, down.point.params)
        residual, steps = max(up.residual, down.residual), up.steps + down.steps
        converged = up.converged and down.converged
        solution = LinearSolution(ravel(scaled(scale, gap)), residual, steps, converged, math.nan)
        check_converged(node, solution, strict=self.strict)
        return Pullback(gaps(plus, minus, trace.record.others, scale), solution)

    def _inputs(self, node: Node, trace: Trace, point: Point, wanted: Sequence[str]) -> dict[str, Params]:
        """Return dF/dz at the end of a pushed solve."""
        record: _Record = trace.record
        with replayed(record.random):
            return node.gradient(point, record.others, wanted, stationary=True).parts

    def _pushed(self, node: Node, trace: Trace, cotangent: Params, sign: float, adjoint: Params) -> _Pushed:
        """Solve with the objective tilted by sign * c / weight, by the problem's own update."""
        record: _Record = trace.record
        force = scaled(sign / self.weight, cotangent)
        unit = float(norm(cotangent)) / self.weight
        point = replace(trace.end, params=axpy(-sign / self.weight, adjoint, trace.end.params))
        # A force below what rounding leaves of a gradient cannot be balanced any better.
        eps = precision([cotangent])
        enough = max(self.tol, 16 * eps * max(1.0, float(norm(point.params))) / unit)
        for made in range(self.steps + 1):
            with replayed(record.random):
                seen = node.gradient(point, record.others, (node.name,))
            gradient = axpy(1.0, force, own_gradient(seen, node))
            residual = float(node.slope(point.params, gradient, record.others)) / unit
            if not residual > enough or made == self.steps:
                break
            point = advance(node, point, gradient, record.others, point.buffers)
        return _Pushed(point, residual, made, residual <= enough)


@dataclass(frozen=True)
class _Pushed:
    """Where a pushed solve ended, and its report."""

    point: Point
    residual: float
    steps: int
    converged: bool
