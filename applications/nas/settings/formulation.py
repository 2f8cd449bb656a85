"""What is solved below the architecture: one task, several, or an interleaving."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from applications.nas.settings._check import MOST_ROUNDS, check
from applications.nas.typed import check_types


@dataclass(frozen=True)
class SingleTask:
    """Bilevel search on one task: the architecture minimizes its validation loss at trained weights."""

    task: str = ""
    """Name of the task; left out: the first one."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_types("formulation", self)


@dataclass(frozen=True)
class MultiTask:
    """Bilevel search on all tasks: independent weights, one architecture, a weighted sum of the validation losses.

    Source: Interleaving Learning, with Application to Neural Architecture Search (Ban, Xie, 2021), equation 10.
    """

    shares: tuple[float, ...] = ()
    """What multiplies each task's validation loss (alpha, beta in the source); left out: 1 for all."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_types("formulation", self)


@dataclass(frozen=True)
class Interleaving:
    """Interleaving learning: K learners x M rounds, each encoder held near the one before by a proximal term.

    Source: Interleaving Learning, with Application to Neural Architecture Search (Ban, Xie, 2021), equation 5.
    """

    rounds: int = 2
    """M."""
    weight: float = 100.0
    """lambda, which multiplies the sum of squared differences; its strength is c = 2 * lr * lambda."""
    form: Literal["implicit", "explicit"] = "implicit"
    """The proximal step, or equation 7 as written (diverges for c >= 2 and is refused then)."""
    anchor: Literal["none", "cyclic"] = "none"
    """What the first stage is held near: nothing as in the source, or the last stage of the step before (ours)."""
    start: Literal["persistent", "previous"] = "persistent"
    """Where a stage begins: at its own weights of the step before, as in the source's equations; or at the encoder that
    the stage before has just trained, as in its prose (heads stay its own). Then a single update finds nothing to hold:
    lambda has no effect in the explicit form, and divides the encoder's step by 1 + c in the implicit one."""
    updates: int = 1
    """Updates of a stage in each step of the architecture, all on one batch; the source makes one."""
    allow_unstable: bool = False
    """Take equation 7 as written in spite of c >= 2."""
    order: tuple[str, ...] = ()
    """Names of the tasks in the order in which they learn (a task that is not named takes no part); left out: as the
    data give them."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_types("formulation", self)
        check("formulation", self, 1 <= self.rounds <= MOST_ROUNDS, f"rounds must be from 1 to {MOST_ROUNDS}")
        check("formulation", self, 1 <= self.updates <= MOST_ROUNDS, f"updates must be from 1 to {MOST_ROUNDS}")
        check("formulation", self, self.weight >= 0, "weight must not be negative")


Formulation = (
    Annotated[SingleTask, tyro.conf.subcommand("single")]
    | Annotated[MultiTask, tyro.conf.subcommand("multi")]
    | Annotated[Interleaving, tyro.conf.subcommand("interleaving")]
)
