"""What an update is made of as outer variables: learning rates, weight decays, momenta, clipping limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor

from mlo.errors import ConfigError, GraphError, ReadError
from mlo.update.base import Recognize, State, UpdateRule, split_state
from mlo.update.modes import Cut, Making
from mlo.variable import SINGLE
from mlo.vector import Params, Values, tensors


class Settings:
    """The values that `Learned` reads, by name: `v.name` and `v["name"]` are the same."""

    __slots__ = ("_owner", "_values")

    def __init__(self, owner: str, values: Mapping[str, Any]) -> None:
        """Show `values` to what makes the update of problem `owner`."""
        self._owner, self._values = owner, values

    def __getitem__(self, name: str) -> Any:
        """Return the value called `name`."""
        if name not in self._values:
            known = ", ".join(map(repr, self._values))
            cure = "add it to reads of mlo.Learned, or correct the name"
            raise ReadError(f"the update of problem {self._owner!r} uses {name!r}, it reads {known}: {cure}")
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        """Return the value called `name`."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]


@dataclass(frozen=True, eq=False)
class Learned(UpdateRule):
    """An update that is made, at every step, from the values of other problems, and is differentiated through them.

    With U_h the update with settings h, and h = make(values of reads), one step is x' = U_h(x, g, s); the derivative
    with respect to h is part of every unrolled derivative. For learning rates and decays on a scale of their own:

        mlo.Learned(lambda v: torchopt.sgd(v.step["log_lr"].exp(), momentum=0.9), reads=["step"])
        mlo.Learned(lambda v: functools.partial(torch.optim.AdamW, lr=v.step.exp()), reads=["step"])

    It is also what `Proximal(weight=...)` takes for a strength that is learned; then `make` returns a number.

    Attributes:
        make: A function of the values read, by name of problem (a tensor, or a dict of tensors by name; for a module,
            of its parameters), that returns a torchopt transformation, a factory of a torch.optim optimizer, or an
            `mlo.Clipped` of one. It must have no side effect.
        reads: Names of the problems that `make` uses.

    Raises:
        ConfigError: If `make` is no function or nothing is read.

    Examples:
        >>> import mlo, torch, torchopt
        >>> rate = mlo.Problem("rate", lambda v, _: v.w**2, torch.tensor(0.1), reads=["w"])
        >>> step = mlo.Learned(lambda v: torchopt.sgd(v.rate), reads=("rate",))
        >>> w = mlo.Problem("w", lambda v, _: 0.5 * v.w**2, torch.tensor(1.0), update=step)
        >>> mlo.hypergradient(mlo.ProblemGraph([rate, w]), of="rate")  # w = 1 - rate, so d w^2 = -2 (1 - rate)
        tensor(-1.8000)
    """

    make: Callable[[Any], Any]
    reads: tuple[str, ...] = field(kw_only=True)

    def __post_init__(self) -> None:
        """Check the arguments."""
        if not callable(self.make):
            raise ConfigError(f"Learned: make must be a function of the values that it reads, got {self.make!r}")
        names = tuple(self.reads) if isinstance(self.reads, Iterable) and not isinstance(self.reads, str) else ()
        if not names or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"Learned: reads must be a list of names of problems, got {self.reads!r}")
        object.__setattr__(self, "reads", names)

    def placed(self, owner: str, variable: Any, recognize: Recognize) -> UpdateRule:
        """Return the rule for one problem."""
        return LearnedUpdate(owner, self, recognize)

    def init(self, params: Params) -> State:
        """Raise: only as part of a problem is this an update."""
        raise ConfigError("Learned: belongs to no problem yet: give it to one, mlo.Problem(..., update=...)")

    def apply(self, params: Params, gradient: Params, state: State, others: Values) -> tuple[Params, State]:
        """Raise, as `init`."""
        raise ConfigError("Learned: belongs to no problem yet: give it to one, mlo.Problem(..., update=...)")

    def value(self, owner: str, others: Values) -> Any:
        """Return what `make` makes of the values read, for problem `owner`.

        Raises:
            GraphError: If it makes a constant of one of them.
        """
        with self._differentiable(others) as read, Making(self.cut(owner, read)):
            try:
                return self.make(Settings(owner, {name: _shown(params) for name, params in read.items()}))
            except Exception as error:
                error.add_note(f"raised in what mlo.Learned makes for problem {owner!r}")
                raise

    @contextmanager
    def _differentiable(self, others: Values) -> Iterator[dict[str, Params]]:
        """Give the values read, so that what is made of them has a derivative whether autograd records or not.

        An optimizer may take another way for a tensor that has one; it is to take the same everywhere.
        """
        with torch.enable_grad():
            found = {name: others[name] for name in self.reads}
            yield {
                name: {k: v if v.requires_grad else v.detach().requires_grad_() for k, v in params.items()}
                for name, params in found.items()
            }

    def cut(self, owner: str, read: Values) -> Cut:
        """Return what raises an error about a tensor made of `read` that would lose its derivative."""

        def refuse(value: Tensor, how: str) -> NoReturn:
            names = [name for name in self.reads if name in read and _reached([value], read[name])] or list(self.reads)
            what = f"problem {owner!r}: its update takes {how} of what it reads from {', '.join(map(repr, names))}"
            raise GraphError(f"{what}, and no derivative goes through that: keep it a tensor, e.g. v.{names[0]}.exp()")

        return refuse


@dataclass(frozen=True, eq=False)
class LearnedUpdate(UpdateRule):
    """`Learned` as the update of one problem; its state is (whether an update was made, state of what was made)."""

    owner: str
    learned: Learned
    recognize: Recognize
    _used: set[str] = field(default_factory=set, init=False, repr=False)

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the update is made from."""
        return self.learned.reads

    def init(self, params: Params) -> State:
        """Return that no update was made: what a state starts from may itself depend on what is read."""
        return (False, ())

    def apply(self, params: Params, gradient: Params, state: State, others: Values) -> tuple[Params, State]:
        """Make the update from what is read, then apply it."""
        made, inner = state
        given = self.learned.value(self.owner, others)
        rule = self._rule(given, params)
        try:
            moved, inner = rule.apply(params, gradient, inner if made else rule.init(params), others)
        except TypeError as error:
            raise self._refused(error) from error
        if torch.is_grad_enabled() and len(self._used) < len(self.reads):
            self._check_used([*tensors(moved), *split_state(inner)[0]], others, complain=made)
        return moved, (True, inner)

    def _rule(self, given: Any, params: Params) -> UpdateRule:
        if isinstance(given, torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler):
            cure = "return a factory: functools.partial(torch.optim.SGD, lr=v.step.exp())"
            raise GraphError(f"problem {self.owner!r}: mlo.Learned made {type(given).__name__}, not an update: {cure}")
        try:
            rule = self.recognize(self.owner, given, params, learned=True)
        except (TypeError, RuntimeError) as error:
            raise self._refused(error) from error
        if rule.reads:
            what = f"problem {self.owner!r}: mlo.Learned made an update that reads {rule.reads[0]!r} for itself"
            raise GraphError(f"{what}: make one mlo.Learned of both")
        wrong = rule.undifferentiable()
        if wrong is not None and torch.is_grad_enabled():
            raise GraphError(f"problem {self.owner!r} cannot be unrolled: {wrong}")
        return rule

    def _refused(self, error: Exception) -> GraphError:
        # Where torch or torchopt insists on a plain number, it raises one of these.
        what = f"problem {self.owner!r}: the update that mlo.Learned makes from {', '.join(map(repr, self.reads))}"
        cure = "leave the setting that it cannot differentiate a plain number, or use another optimizer"
        return GraphError(f"{what} cannot be made or applied ({error}): {cure}")

    def _check_used(self, results: list[Tensor], others: Values, *, complain: bool) -> None:
        """Raise if a derivative with respect to a read is lost on the way.

        Not after the first update alone: a momentum does nothing in it.
        """
        for name in self.reads:
            if _reached(results, others[name]):
                self._used.add(name)
            elif complain and name not in self._used and any(v.requires_grad for v in others[name].values()):
                cure = "use it in make, or leave it out of reads"
                what = f"problem {self.owner!r}: its update reads {name!r}, but does not depend on it"
                raise GraphError(f"{what}: {cure}")

    def rests_elsewhere(self) -> str | None:
        """Return why a rule that looks at stationarity alone is wrong here."""
        names = ", ".join(map(repr, self.reads))
        return f"its update is made from {names}, which moves the answer, but no gradient to zero: fix the update"


def _shown(params: Params) -> Any:
    """Return a read as it was declared: one tensor, or a dict."""
    return params[SINGLE] if list(params) == [SINGLE] else params


def _reached(results: list[Tensor], read: Params) -> bool:
    """Tell whether the derivative of any result with respect to any tensor of `read` is more than absent."""
    ends = [value for value in results if value.requires_grad]
    points = [value for value in tensors(read) if value.requires_grad]
    if not ends or not points:
        return False
    zeros = [torch.zeros_like(value) for value in ends]
    found = torch.autograd.grad(ends, points, zeros, retain_graph=True, allow_unused=True)
    return any(value is not None for value in found)
