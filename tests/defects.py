"""Numeric defects of other libraries, planted in copies of our own rules, solvers, products and sweep.

A defect of a function of ours has a `plant` that puts it there, through pytest's monkeypatch.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from importlib import import_module

import torch

import mlo
from mlo.hypergradient.root import attach_root
from mlo.hypergradient.second_order import _DifferenceLinearization, _ExactLinearization
from mlo.vector import add, axpy, scaled


class SecondPathDropped:
    """B1 (Betty): where a cotangent is there already, a second path to the same answer is not added."""

    @staticmethod
    def plant(monkeypatch):
        monkeypatch.setattr(import_module("mlo.solve"), "add", lambda left, right: right if left is None else left)


@dataclass(frozen=True)
class PartialMixedDerivative(mlo.Unroll):
    """B2 (Betty): the products are those of the problem's own loss, the answers below it held."""

    def respond(self, node, *, differentiable):
        graph, trace = node.context.graph, super().respond(node, differentiable=differentiable)
        inside = graph.inside(node.name)
        held = [replace(p, response=mlo.FirstOrder()) if p.name in inside else p for p in graph.problems]
        node = type(node)(replace(node.context, graph=mlo.ProblemGraph(held)), node.name)
        return replace(trace, record=super().respond(node, differentiable=differentiable).record)


@dataclass(frozen=True)
class NoStepSize(mlo.Unroll):
    """B3 (Betty): the product of the look-ahead step without its factor eta = 0.1."""

    def pullback(self, *args, **how):
        back = super().pullback(*args, **how)
        return replace(back, parts={name: scaled(10.0, part) for name, part in back.parts.items()})


class Copied(mlo.CG):
    """B3 (Betty): H^-1 left out; the solver gives back what it is given."""

    def solve(self, matvec, b, *, start=None):
        return mlo.LinearSolution(b, residual=0.0, iterations=0, converged=True, curvature=1.0)


class OtherMasks:
    """B4 (Betty): the two sides of a finite difference draw masks of their own."""

    @staticmethod
    def plant(monkeypatch):
        monkeypatch.setattr(import_module("mlo.hypergradient.second_order"), "replayed", lambda state: nullcontext())


class ScaledDenominator(mlo.CG):
    """B5 (Betty): alpha = 0.1 in the denominator of the step, and not in the update of the residual."""

    def solve(self, matvec, b, *, start=None):
        x, r, p = torch.zeros_like(b), b, b
        for _ in range(2):
            ap = matvec(p)
            step = r @ r / (p @ (0.1 * ap))
            x, new = x + 0.1 * step * p, r - step * ap
            p, r = new + (new @ new) / (r @ r) * p, new
        return mlo.LinearSolution(x, residual=0.0, iterations=2, converged=True, curvature=1.0)


class StaleIterate(mlo.CG):
    """O1 (BOAT) and H1 (hypertorch): the iterate before the converged one, which is 0 after one step."""

    def solve(self, matvec, b, *, start=None):
        right = super().solve(matvec, b, start=start)
        before = mlo.CG(max_steps=right.iterations - 1).solve(matvec, b).value if right.iterations > 1 else 0 * b
        return replace(right, value=before)


@dataclass(frozen=True)
class FirstGradientReused(mlo.Unroll):
    """O2 (BOAT): every step uses the gradient of the first one, at a model that never moves."""

    def respond(self, node, *, differentiable):
        return super().respond(_Stale(node), differentiable=differentiable)


class _Stale:
    """A node whose gradient is always the one at the start."""

    def __init__(self, node):
        self._node, self._start = node, node.start()

    def __getattr__(self, name):
        return getattr(self._node, name)

    def gradient(self, point, others, wrt, **how):
        stuck = replace(point, params=axpy(0.0, point.params, self._start.params))
        return self._node.gradient(stuck, others, wrt, **how)


@dataclass(frozen=True)
class LowerGradientLeaks(mlo.Unroll):
    """O2 (BOAT): d(lower loss) / d(upper variable) is added to the hypergradient at every step."""

    def pullback(self, node, trace, cotangent, wanted, *, differentiable):
        back = super().pullback(node, trace, cotangent, wanted, differentiable=differentiable)
        leak = node.gradient(node.start(), node.read(), wanted).parts
        return replace(back, parts={name: add(part, leak[name]) for name, part in back.parts.items()})


class Untracked:
    """O3 (BOAT): the gradient of the lower loss is taken without tracking, so that nothing comes back."""

    @staticmethod
    def plant(monkeypatch):
        def product(self, v, wanted):
            return {}

        monkeypatch.setattr(_ExactLinearization, "product", product)


class OtherSettings(mlo.Neumann):
    """O4 (BOAT): the number of terms is taken from the settings of another solver, whose default is 10."""

    def solve(self, matvec, b, *, start=None):
        return mlo.Neumann(max_steps=10, step_size=self.step_size).solve(matvec, b)


class SecondDerivativeLost:
    """T1 (TorchOpt): right value and first derivative, but the adjoint of the implicit answer is a constant."""

    @staticmethod
    def plant(monkeypatch):
        def constant(residual, solver, root, inputs):
            is_adjoint = residual.__qualname__.startswith("_adjoint_equation")
            return root.detach() if is_adjoint else attach_root(residual, solver, root, inputs)

        monkeypatch.setattr(import_module("mlo.hypergradient.root"), "attach_root", constant)


class RootWithoutHistory:
    """T1 (TorchOpt): the implicit answer is handed on through `.data`."""

    @staticmethod
    def plant(monkeypatch):
        def cut(residual, solver, root, inputs):
            return root.detach()

        monkeypatch.setattr(import_module("mlo.hypergradient.root_response"), "attach_root", cut)


class NoDimensionsNoSteps(mlo.CG):
    """T2 (TorchOpt): the entries of a scalar are counted by its shape, so that it gets no steps."""

    def solve(self, matvec, b, *, start=None):
        if b.numel() > 1:
            return super().solve(matvec, b, start=start)
        return mlo.LinearSolution(0 * b, residual=0.0, iterations=0, converged=True, curvature=1.0)


class InPlace(_DifferenceLinearization):
    """B11 (Betty): the weights are moved by +h, -2h and +h in place, which leaves a residue of rounding."""

    def _gradients(self, direction, shift, wanted):
        for name, value in self.point.params.items():
            value.add_(shift * direction[name])
        try:
            return self.node.gradient(self.point, self.others, wanted, stationary=self.stationary).parts
        finally:
            for name, value in self.point.params.items():
                value.sub_(shift * direction[name])


@dataclass(frozen=True)
class PerturbsInPlace(mlo.FiniteDifference):
    def linearize(self, node, point, others, *, stationary=False):
        right = super().linearize(node, point, others, stationary=stationary)
        return InPlace(**{each.name: getattr(right, each.name) for each in fields(right)})
