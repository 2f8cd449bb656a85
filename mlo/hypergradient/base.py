"""The two abstractions of this package: a problem seen from a response rule, and the response rule itself.

A rule answers two questions about a problem q whose answer is x*(z), z being everything that it reads:

    respond:   what is x*(z)?
    pullback:  given c, what is c . d x*(z) / d z ?

The second is all that a hypergradient needs of a problem, whatever the rule and whatever lies below it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from mlo.errors import MLOError
from mlo.linear.base import LinearSolution
from mlo.update import State
from mlo.vector import Params, Values


@dataclass(frozen=True)
class Point:
    """Where a problem stands.

    Attributes:
        params: Its variable.
        state: The state of its optimizer.
        buffers: The buffers of its module; empty if it is none.
    """

    params: Params
    state: State
    buffers: Params


@dataclass(frozen=True)
class Evaluation:
    """One total gradient of one problem's objective.

    Attributes:
        loss: The objective's value, without history.
        parts: Cotangents by problem name; a name that is absent has derivative zero.
        buffers: The module's buffers after the evaluation.
    """

    loss: Tensor
    parts: dict[str, Params]
    buffers: Params


@dataclass(frozen=True)
class Trace:
    """What a rule keeps of a solve.

    Attributes:
        answer: The variable's value that problems above read.
        end: Where the problem stands afterwards, without history.
        losses: The loss at each evaluation: one before each step, and one more if the solve stopped early.
        gradient_norm: Norm of the last gradient, None if there was none.
        steps: How many updates were made.
        slope: The norm of the gradient (of loss and penalty) at the end, None if nothing asked for it.
        record: What this rule needs for its pullback; nobody else looks inside.
    """

    answer: Params
    end: Point
    losses: tuple[Tensor, ...]
    gradient_norm: Tensor | None
    steps: int
    record: Any = None
    slope: float | None = None


@dataclass(frozen=True)
class Pullback:
    """What a cotangent on an answer becomes.

    Attributes:
        parts: Cotangents by problem name; a name that is absent has derivative zero.
        solution: The linear solve that they took, None if there was none.
    """

    parts: dict[str, Params] = field(default_factory=dict)
    solution: LinearSolution | None = None


class Linearization(ABC):
    """A gradient at one point, and its products with vectors.

    Attributes:
        seen: The evaluation of the gradient.
        gradient: G(x, z).
    """

    seen: Evaluation
    gradient: Params

    @abstractmethod
    def product(self, v: Params, wanted: Sequence[str]) -> dict[str, Params]:
        """Return P(v) for the names in `wanted`; absent names have product zero."""


class Node(ABC):
    """A problem in its place in a graph, as a response rule sees it.

    Attributes:
        name: The problem's name.
        steps: Most updates in one solve.
        tolerance: Norm of the gradient at which a solve may stop before that; 0 if it may not.
        inputs: Names of all other problems on whose values the answer depends: what the problem's loss and its update
            read, what hands it a start, and what the problems that are solved inside it read.
        loss_reads: Those of them that its own loss reads.
        ahead: Its gradient where a solve starts, if that was taken before.
    """

    name: str
    steps: int
    tolerance: float
    inputs: tuple[str, ...]
    loss_reads: tuple[str, ...]
    ahead: Linearization | None

    @abstractmethod
    def start(self, others: Values | None = None) -> Point:
        """Return where a solve starts: a constant, but for what `start_reads` names.

        Args:
            others: Values of `inputs`; None for the present ones.
        """

    @abstractmethod
    def read(self) -> Values:
        """Return the present values of `inputs`."""

    @abstractmethod
    def gradient(
        self,
        point: Point,
        others: Values,
        wrt: Sequence[str],
        *,
        differentiable: bool = False,
        stationary: bool = False,
    ) -> Evaluation:
        """Return the total gradient of the objective at `point`, given the values `others` of the inputs.

        Args:
            point: The variable and buffers at which to evaluate.
            others: Values of the inputs.
            wrt: Names to differentiate with respect to; may hold the problem's own name and any input.
            differentiable: Whether the gradient can itself be differentiated.
            stationary: Add the term whose stationary point the update rule seeks besides the loss's.
        """

    @abstractmethod
    def advance(self, params: Params, gradient: Params, state: State, others: Values) -> tuple[Params, State]:
        """Apply the update rule once."""

    @abstractmethod
    def slope(self, params: Params, gradient: Params, others: Values) -> Tensor:
        """Return the norm of `gradient` and the penalty's gradient together: zero where the update rule rests."""

    @abstractmethod
    def partial(self, point: Point, others: Values) -> tuple[Evaluation, Node] | None:
        """Return the total gradient at `point`, and this problem with all answers inside it held as they are there.

        None where nothing is to be held: unless the caller asked for partial derivatives, or if nothing is inside.
        """

    @property
    @abstractmethod
    def adjoint(self) -> Tensor | None:
        """Return the solution of this problem's linear solve one outer step ago, if it is known."""

    @property
    @abstractmethod
    def remembers(self) -> bool:
        """Return whether an engine remembers that solution from step to step."""

    @abstractmethod
    def multiplied(self) -> None:
        """Count one second-order product by double backward."""

    @abstractmethod
    def doubt(self, wrong: Tensor, explain: Callable[[], MLOError]) -> None:
        """Raise what `explain` returns at the end of the gradient if `wrong` is true, without looking at it now."""

    @abstractmethod
    def note(self, solution: LinearSolution) -> None:
        """Remember a linear solve that did not converge, for the warning at the end."""

    @abstractmethod
    def note_restless(self, slope: float) -> None:
        """Remember a solve that ended above its tolerance, where the gradient has norm `slope`."""

    @property
    @abstractmethod
    def update_reads(self) -> tuple[str, ...]:
        """Return the inputs that `advance` depends on."""

    @property
    @abstractmethod
    def update_remembers(self) -> tuple[str, ...]:
        """Return the problems of whose stored value, a constant, `advance` makes use."""

    @property
    def start_reads(self) -> tuple[str, ...]:
        """Return the inputs that `start` depends on."""
        return ()

    @property
    def start_remembers(self) -> tuple[str, ...]:
        """Return the problems of whose stored value, a constant, `start` makes use."""
        return ()

    @property
    @abstractmethod
    def differences(self) -> int:
        """Return how many finite differences are nested in one gradient that is not differentiable."""


class AbstractResponse(ABC):
    """A rule for how a problem's answer depends on what it reads.

    Law, for every cotangent c and every direction d of the inputs: <pullback(c), d> = <c, d x*(z)[d]>.

    Attributes:
        transmits: Whether the answer depends on the inputs at all under this rule.
        differentiates_update: Whether the update rule itself is differentiated.
        differentiates_steps: Whether what is differentiated are the steps that a solve makes.
        assumes_rest: Whether the answer is taken to be where the update rule comes to rest.
        assumes_stationarity: Whether the answer is taken to be where loss and penalty are stationary.
        carries_history: Whether `respond` obliges with `differentiable`; a rule that does not raises a `GraphError`.
    """

    transmits: ClassVar[bool] = True
    differentiates_update: ClassVar[bool] = False
    differentiates_steps: ClassVar[bool] = False
    assumes_rest: ClassVar[bool] = False
    assumes_stationarity: ClassVar[bool] = False
    carries_history: ClassVar[bool] = True

    @abstractmethod
    def respond(self, node: Node, *, differentiable: bool) -> Trace:
        """Solve the problem; with `differentiable`, the answer carries its history to any order.

        Args:
            node: The problem.
            differentiable: Whether a problem above differentiates the answer again, through exact products.

        Raises:
            GraphError: If it is to be differentiable and the rule cannot; the message says which rules can.
        """

    @abstractmethod
    def pullback(
        self, node: Node, trace: Trace, cotangent: Params, wanted: Sequence[str], *, differentiable: bool
    ) -> Pullback:
        """Pull a cotangent on the answer back to the inputs named in `wanted`.

        Args:
            node: The problem.
            trace: What `respond` returned.
            cotangent: c, shaped as the problem's variable.
            wanted: Names of inputs.
            differentiable: Whether the result is to carry its history; true only if the answer did.

        Returns:
            c . dx*/dz for each of them; a name that is absent has derivative zero.
        """

    def differences(self, below: int) -> int:
        """Return how many finite differences are nested in a pullback, with `below` of them in the node's gradient."""
        return 0
