"""A problem: an argmin, as a user declares it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any

from mlo.autocast import Autocast
from mlo.errors import GraphError
from mlo.hand_over import HandOver
from mlo.hypergradient import AbstractResponse, Unroll
from mlo.label import label
from mlo.pieces import Loss
from mlo.update import UpdateRule, as_update
from mlo.variable import Variable, as_variable
from mlo.view import View


@dataclass(frozen=True, eq=False)
class Problem:
    """x*(z) = argmin_x f(x, z), where z are the problems that the loss reads.

    Attributes:
        name: Unique in its graph.
        loss: `loss(view, batch) -> scalar`; sees `view.<name>` for itself and for everything in `reads`.
        variable: What is optimized: an `nn.Module`, a dict of tensors, or one tensor (all floating point). Its
            values are copied here and never changed; frozen parameters of a module are constants, read where they are.
        reads: Names of the other problems that the loss uses. A read of an outer problem is a constant; a read of a
            deeper one is its answer, which moves when the outer variable moves.
        update: How it is optimized, unrolled as it is: a torchopt gradient transformation; a `torch.optim` optimizer of
            the variable's own tensors, or a scheduler of one (neither is changed); a function that makes one of a list
            of tensors, such as `functools.partial(torch.optim.SGD, lr=0.1)`; `mlo.Clipped` or `mlo.Learned`. None for a
            problem that is never moved.
        steps: Updates in one solve, all on the same batch. The outermost problem makes one in each engine step.
        tolerance: Stop a solve before its last step once the gradient's norm (of loss and proximal term, over all
            tensors) is no larger; 0 never does. Refused where the steps themselves are differentiated, by `Unroll`,
            and for an update that does not rest where that gradient vanishes, such as one that decays weights itself.
        warm_start: Whether an engine begins a solve where the one in the step before ended. If not, every solve begins
            at the value declared here, with a new optimizer state, and an engine keeps none of its answers.
        response: How the answer depends on what it reads. Not used for the outermost problem.
        start: Where each solve begins, `mlo.HandOver(...)`, if not at the problem's own value.
        batches: An iterable of batches that can be iterated again (a list, a DataLoader), or None: then the loss gets
            None.
        accumulate: Into how many chunks each batch is cut, along the first dimension of its tensors. Each is
            differentiated for itself, and the results are averaged by their lengths: for a loss that is a mean over
            its batch, the gradient of the whole batch, in the memory of a chunk. BatchNorm normalizes each chunk for
            itself. An exact second-order product keeps the graphs of all chunks.
        precision: In what precision the loss is evaluated and differentiated, `mlo.Autocast(torch.bfloat16)`; None for
            that of its tensors. What is seen of it (values, gradients, products) is of the variable's type.

    Raises:
        GraphError: If an argument is not of its kind.

    Examples:
        >>> import mlo, torch, torchopt
        >>> w = mlo.Problem("w", lambda v, _: (v.w - v.x) ** 2, torch.zeros(()), reads=["x"], update=torchopt.sgd(0.5))
        >>> w.name, w.reads, w.steps
        ('w', ('x',), 1)
    """

    name: str
    loss: Loss
    variable: Any
    _: KW_ONLY
    reads: Sequence[str] = ()
    update: Any = None
    steps: int = 1
    tolerance: float = 0.0
    warm_start: bool = True
    start: HandOver | None = None
    response: AbstractResponse = field(default_factory=Unroll)
    batches: Iterable[Any] | None = None
    accumulate: int = 1
    precision: Autocast | None = None

    def __post_init__(self) -> None:
        """Check each argument on its own; the graph checks how problems fit together."""
        if not isinstance(self.name, str) or not self.name:
            raise GraphError(f"a problem's name must be a non-empty string, got {self.name!r}")
        where = f"problem {self.name!r}"
        if not callable(self.loss):
            raise GraphError(f"{where}: loss must be a function of (view, batch), got {type(self.loss).__name__}")
        if hasattr(View, self.name):
            raise GraphError(f"{where}: v.{self.name} has a meaning of its own in a loss: choose another name")
        reads = tuple(self.reads) if isinstance(self.reads, Iterable) and not isinstance(self.reads, str) else None
        if reads is None or not all(isinstance(read, str) for read in reads):
            raise GraphError(f"{where}: reads must be a list of problem names, got {self.reads!r}")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 0:
            raise GraphError(f"{where}: steps must be a whole number >= 0, got {self.steps!r}")
        if isinstance(self.tolerance, bool) or not isinstance(self.tolerance, int | float) or not self.tolerance >= 0:
            raise GraphError(f"{where}: tolerance must be a number >= 0, got {self.tolerance!r}")
        if not isinstance(self.warm_start, bool):
            raise GraphError(f"{where}: warm_start must be True or False, got {self.warm_start!r}")
        if self.start is not None and not isinstance(self.start, HandOver):
            raise GraphError(f"{where}: start must be an mlo.HandOver, or None, got {self.start!r}")
        if isinstance(self.accumulate, bool) or not isinstance(self.accumulate, int) or self.accumulate < 1:
            raise GraphError(f"{where}: accumulate must be a whole number >= 1, got {self.accumulate!r}")
        if self.precision is not None and not isinstance(self.precision, Autocast):
            hint = "an instance such as mlo.Autocast(torch.bfloat16), or None"
            raise GraphError(f"{where}: precision must be {hint}, got {self.precision!r}")
        if not isinstance(self.response, AbstractResponse):
            hint = "an instance such as mlo.Unroll() or mlo.Implicit(mlo.CG())"
            raise GraphError(f"{where}: response must be {hint}, got {self.response!r}")
        if self.batches is not None and not isinstance(self.batches, Iterable):
            kind = type(self.batches).__name__
            raise GraphError(
                f"{where}: batches must be a list of batches, a DataLoader or the like, or None, got {kind}"
            )
        object.__setattr__(self, "reads", reads)
        _ = self.kind, self.rule

    @cached_property
    def kind(self) -> Variable:
        """The variable behind the interface that the library works with."""
        return as_variable(self.name, self.variable)

    @cached_property
    def rule(self) -> UpdateRule | None:
        """The update behind the interface that the library works with."""
        return None if self.update is None else as_update(self.name, self.update, self.variable)

    @cached_property
    def dependencies(self) -> tuple[str, ...]:
        """Names of all other problems that the loss, the update or the start uses."""
        extra = self.rule.reads if self.rule is not None else ()
        handed = self.start.reads if self.start is not None else ()
        return tuple(dict.fromkeys((*self.reads, *extra, *handed)))

    @cached_property
    def remembers(self) -> tuple[str, ...]:
        """Names of all problems whose stored value, of before an outer step, the update or the start uses."""
        extra = self.rule.remembers if self.rule is not None else ()
        handed = self.start.remembers if self.start is not None else ()
        return tuple(dict.fromkeys((*extra, *handed)))

    def __repr__(self) -> str:
        """Return a one-line description."""
        reads = ", ".join(self.reads) or "nothing"
        return f"Problem({self.name!r}, reads {reads}, {self.steps} steps, {label(self.response)})"
