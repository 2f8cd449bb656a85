"""What an engine does with a step that met a number which is not finite."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from mlo.checks import check_count
from mlo.errors import ConfigError, DivergenceError, RankError, UnconvergedError
from mlo.parallel import AbstractRanks

log = logging.getLogger("mlo")


class AbstractOnDivergence(ABC):
    """A policy for steps that met a number which is not finite."""

    @property
    @abstractmethod
    def most(self) -> int:
        """How many times one step may fail; the last error is raised."""


@dataclass(frozen=True)
class Stop(AbstractOnDivergence):
    """Raise the error; the engine stays as it was before the step.

    Examples:
        >>> import mlo, torch, torchopt
        >>> x = mlo.Problem("x", lambda v, _: v.x.log(), torch.tensor(-1.0), update=torchopt.sgd(0.1))
        >>> engine = mlo.Engine(mlo.ProblemGraph([x]), on_divergence=mlo.Stop())
        >>> try:
        ...     report = engine.step()
        ... except mlo.DivergenceError:
        ...     print(engine.values["x"])
        tensor(-1.)
    """

    @property
    def most(self) -> int:
        """Once."""
        return 1


@dataclass(frozen=True)
class Skip(AbstractOnDivergence):
    """Give up the attempt, and make the step with the next batches: for one bad batch in thousands.

    What an attempt would have changed stays as it was; its batches and the random numbers it drew are used up. It is
    logged as a warning to the logger "mlo", and `Report.skipped` of the step that came of it has its message. Only
    numbers that are not finite are skipped: not an `UnconvergedError`, which asks to stop, nor any other error.

    Attributes:
        in_a_row: How many attempts at one step may fail; the error of the last one is raised.

    Raises:
        ConfigError: If that is no whole number >= 1.

    Examples:
        >>> import mlo, torch, torchopt
        >>> batches = [torch.tensor(1.0), torch.tensor(float("nan")), torch.tensor(1.0)]
        >>> x = mlo.Problem("x", lambda v, batch: batch * v.x**2, torch.tensor(1.0), update=torchopt.sgd(0.1),
        ...                 batches=batches)
        >>> engine = mlo.Engine(mlo.ProblemGraph([x]), on_divergence=mlo.Skip())
        >>> [len(report.skipped) for report in engine.run(2)]
        [0, 1]
    """

    in_a_row: int = 3

    def __post_init__(self) -> None:
        """Check the setting."""
        check_count("Skip", "in_a_row", self.in_a_row)

    @property
    def most(self) -> int:
        """As many as were asked for."""
        return self.in_a_row


@dataclass
class Attempts:
    """The attempts at one step.

    Attributes:
        policy: What to do with those that fail.
        ranks: Who makes the step together.
        given_up: The messages of those that failed, with their notes.
        said: The same without.
        agreed: Whether the ranks have told each other that they make the present one.
    """

    policy: AbstractOnDivergence
    ranks: AbstractRanks
    given_up: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    agreed: bool = False

    def another(self, error: Exception) -> bool:
        """Return whether the step is to be tried again after an error; all ranks that met one decide alike."""
        skippable = isinstance(error, DivergenceError) and not isinstance(error, UnconvergedError)
        if self.ranks.replicas * self.ranks.members > 1 and not self._all_skip(error, skippable):
            return False
        text = _text(error)
        if not skippable or len(self.given_up) + 1 >= self.policy.most:
            self._tell_of_earlier(error)
            return False
        self.given_up.append(text)
        self.said.append(str(error))
        if self.ranks.replica == self.ranks.member == 0:
            log.warning("skipped: %s", text)
        return True

    def _all_skip(self, error: Exception, skippable: bool) -> bool:
        """Tell the other ranks what was met, let them all raise the same, and return whether each may skip it."""
        if not (self.agreed and self.ranks.intact):
            return False
        own = (error.finding if isinstance(error, DivergenceError) else None, skippable, _text(error))
        try:
            with self.ranks.guarded(lambda: ["Engine.step: an error"]):
                met = self.ranks.tell(own)
        except RankError:
            return False  # what this rank met is told in any case
        for rank, (finding, _, _) in enumerate(met):
            if isinstance(error, DivergenceError) and finding is not None:
                error.trace_to(f"{finding[0]} (on rank {rank})", finding[1])
                break
        other = next(((rank, text) for rank, (_, may, text) in enumerate(met) if not may), None)
        if skippable and other is not None:
            error.add_note(f"not skipped, for rank {other[0]} met another error: {other[1]}")
        return other is None

    def _tell_of_earlier(self, error: Exception) -> None:
        if self.given_up:
            others = "; ".join(dict.fromkeys(found for found in self.said if found != str(error)))
            before = f"; before: {others}" if others else ""
            error.add_note(f"given up after {len(self.given_up) + 1} attempts at this step{before}")


def checked_policy(policy: object) -> AbstractOnDivergence:
    """Return it.

    Raises:
        ConfigError: If it is something else.
    """
    if not isinstance(policy, AbstractOnDivergence):
        raise ConfigError(f"Engine: on_divergence must be mlo.Stop() or mlo.Skip(in_a_row=3), got {policy!r}")
    return policy


def _text(error: Exception) -> str:
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return f"{error}{notes}"
