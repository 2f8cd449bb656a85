"""How one second-order product is taken.

With G(x, z) the gradient of a problem's objective F with respect to its own variable x, every response rule needs

    P(v) = d/d(x, z) <G(x, z), v>.

`Exact` differentiates the gradient. `FiniteDifference` uses that mixed partial derivatives commute:
P(v) = d/dt grad_{x,z} F(x + t v, z) at t = 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import ClassVar

import torch
from torch import Tensor

from mlo.autocast import full_precision
from mlo.autodiff import cut, named_vjp
from mlo.checks import check_positive
from mlo.errors import ConfigError
from mlo.flat import Flat
from mlo.hypergradient.base import Evaluation, Linearization, Node, Point
from mlo.hypergradient.run import filled, own_gradient, second_derivative
from mlo.rng import RandomState, replayed
from mlo.vector import Params, Values, axpy, mapped, norm, precision, unit


def check_product(rule: str, product: object) -> None:
    """Check what a rule was given as its product.

    Raises:
        ConfigError: If it is not an instance of `AbstractProduct`.
    """
    if not isinstance(product, AbstractProduct):
        raise ConfigError(f"{rule}: product must be mlo.Exact() or mlo.FiniteDifference(), got {product!r}")


class AbstractProduct(ABC):
    """A way to take second-order products.

    Attributes:
        exact: Whether they are exact to rounding.
    """

    exact: ClassVar[bool] = False

    @abstractmethod
    def linearize(self, node: Node, point: Point, others: Values, *, stationary: bool = False) -> Linearization:
        """Evaluate the node's gradient at `point` so that products can follow."""

    def differences(self, below: int) -> int:
        """Return how many finite differences are nested in a product, with `below` of them in the node's gradient."""
        return 0  # an exact product differentiates everything below it exactly


@dataclass(frozen=True, eq=False)
class _ExactLinearization(Linearization):
    node: Node
    seen: Evaluation
    gradient: Params
    leaves: dict[str, Flat]
    differentiable: bool

    def product(self, v: Params, wanted: Sequence[str]) -> dict[str, Params]:
        self.node.multiplied()
        leaves = {name: self.leaves[name] for name in wanted if name in self.leaves}
        gradient = Flat.of(self.gradient)
        cotangents = Flat.of(v).in_roots_of(gradient)
        with second_derivative(self.node.name):
            return named_vjp(gradient.roots, leaves, cotangents, differentiable=self.differentiable, retain=True)


@dataclass(frozen=True)
class Exact(AbstractProduct):
    """Differentiate the gradient: exact to rounding, about the cost of two gradients, keeps one graph alive.

    Examples:
        >>> import mlo
        >>> mlo.Unroll(product=mlo.Exact()) == mlo.Unroll()  # the default
        True
    """

    exact: ClassVar[bool] = True

    def linearize(
        self,
        node: Node,
        point: Point,
        others: Values,
        *,
        stationary: bool = False,
        differentiable: bool = False,
    ) -> Linearization:
        """Evaluate the gradient with its graph.

        Args:
            node: The problem.
            point: Where.
            others: Values of the inputs.
            stationary: See `Node.gradient`.
            differentiable: Whether gradient and products are themselves to be differentiable.
        """
        split = node.partial(point, others)
        own = cut(point.params, differentiable=differentiable)
        leaves = {name: cut(value, differentiable=differentiable) for name, value in others.items()}
        at, local = replace(point, params=own), node if split is None else split[1]
        seen = local.gradient(at, leaves, (node.name,), differentiable=True, stationary=stationary)
        gradient = own_gradient(seen, node)
        if split is not None:  # the number is the total gradient's, the derivatives are those of the partial one
            seen = split[0]
            total = own_gradient(seen, node)
            gradient = mapped(lambda value, number: value + (number - value.detach()), gradient, total)
        return _ExactLinearization(node, seen, gradient, {node.name: own, **leaves}, differentiable)


def gaps(
    plus: Mapping[str, Params], minus: Mapping[str, Params], known: Values, scale: float | Tensor
) -> dict[str, Params]:
    """Return scale * (plus - minus) for each name in either; a name that is absent from one has value zero there.

    Args:
        plus: Cotangents by name.
        minus: Cotangents by name.
        known: A value of the space of each name.
        scale: The factor.
    """
    result: dict[str, Params] = {}
    for name in dict.fromkeys((*plus, *minus)):
        up, down = filled(plus.get(name), known[name]), filled(minus.get(name), known[name])
        result[name] = mapped(lambda one, other: (one - other) * _like(scale, one), up, down)
    return result


def _like(scale: float | Tensor, value: Tensor) -> float | Tensor:
    return scale.to(value) if isinstance(scale, Tensor) else scale


@dataclass(frozen=True, eq=False)
class _DifferenceLinearization(Linearization):
    node: Node
    point: Point
    others: Values
    stationary: bool
    epsilon: float | None
    random: RandomState
    total: Evaluation | None

    # Evaluated when asked for: an implicit response needs products alone.
    @cached_property
    def seen(self) -> Evaluation:  # type: ignore[override]
        if self.total is not None:
            return self.total
        return self.node.gradient(self.point, self.others, (self.node.name,), stationary=self.stationary)

    @property
    def gradient(self) -> Params:  # type: ignore[override]
        return own_gradient(self.seen, self.node)

    def product(self, v: Params, wanted: Sequence[str]) -> dict[str, Params]:
        direction, size = unit(v)
        known = {**self.others, self.node.name: self.point.params}
        shift = self._shift
        plus, minus = self._gradients(direction, shift, wanted), self._gradients(direction, -shift, wanted)
        return gaps(plus, minus, known, size / (2 * shift))

    # The same for every product.
    @cached_property
    def _shift(self) -> Tensor:
        size = norm(self.point.params)
        if self.epsilon is not None:
            eps = precision([self.point.params])
            # Not `self` in it: what is in doubt outlives the point, which a solve may be made not to keep.
            lost = partial(_lost, self.node.name, self.epsilon, eps, size)
            self.node.doubt(size > self.epsilon / (8 * eps), lost)
            return torch.full_like(size, self.epsilon)
        eps = precision([self.point.params, *self.others.values()])
        noise = eps ** ((2 / 3) ** self.node.differences)
        return float(noise ** (1 / 3)) * size.clamp(min=1.0)

    def _gradients(self, direction: Params, shift: Tensor, wanted: Sequence[str]) -> dict[str, Params]:
        at = replace(self.point, params=axpy(shift, direction, self.point.params))
        with full_precision(), replayed(self.random):
            return self.node.gradient(at, self.others, wanted, stationary=self.stationary).parts


def _lost(name: str, epsilon: float, eps: float, norm: Tensor) -> ConfigError:
    size = float(norm)
    return ConfigError(
        f"problem {name!r}: FiniteDifference(epsilon={epsilon:g}) is lost in rounding, as its variable has norm "
        f"{size:.3g}: take at least {8 * eps * size:.1e}, or leave epsilon out"
    )


@dataclass(frozen=True)
class FiniteDifference(AbstractProduct):
    """P(v) ~ (grad F(x + h v) - grad F(x - h v)) / 2h with h = epsilon / |v|: two gradients, no graph kept.

    Both sides see the same random numbers (dropout masks) and the same buffers, and are evaluated in the precision of
    the variables, whatever `Problem.precision` says. Nothing is perturbed in place. Both
    sides solve the answers inside anew, so that an implicit one needs enough steps to be stationary there too, and a
    first-order one that is solved (steps > 0) moves, which `Exact` does not see. Below a problem that takes `Exact`
    products the differences are not used: an exact product differentiates all that is inside exactly.

    Attributes:
        epsilon: The length of the perturbation h v. None chooses noise^(1/3) * max(1, |x|), which balances truncation
            against rounding for a smooth loss. The noise of a gradient is the machine epsilon of its coarsest tensor;
            if it contains differences itself, theirs: each leaves noise^(2/3), so in float64 one level is good to
            about 1e-10, two to 1e-7, three to 1e-5. DARTS uses 0.01. For losses with kinks (ReLU, max pooling) all
            of these are short: the error grows as epsilon falls, like epsilon^(-1/2). On small supernets lengths of
            0.1 to 0.3 were closest to `Exact` (docs/evidence/hypergradients.md): compare before relying on one.

    Source: DARTS: Differentiable Architecture Search (Liu, Simonyan, Yang, 2019), equation 8.

    Examples:
        >>> import mlo, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.w**2, torch.tensor(3.0), reads=["w"])
        >>> w = mlo.Problem("w", lambda v, _: (v.w - v.x) ** 2, torch.zeros(()), reads=["x"], update=torchopt.sgd(0.25),
        ...             steps=2, response=mlo.Unroll(product=mlo.FiniteDifference()))
        >>> round(float(mlo.hypergradient(mlo.ProblemGraph([x, w]), of="x")), 3)  # as by Exact()
        3.375
    """

    epsilon: float | None = None

    def __post_init__(self) -> None:
        """Check the setting."""
        if self.epsilon is not None:
            check_positive("FiniteDifference", "epsilon", self.epsilon)

    def differences(self, below: int) -> int:
        """Return one more than in the gradient."""
        return below + 1

    def linearize(self, node: Node, point: Point, others: Values, *, stationary: bool = False) -> Linearization:
        """Evaluate the gradient without a graph, and remember how to evaluate it again."""
        total, local = node.partial(point, others) or (None, node)
        return _DifferenceLinearization(local, point, others, stationary, self.epsilon, RandomState.capture(), total)
