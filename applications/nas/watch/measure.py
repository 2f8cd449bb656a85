"""What is measured after an epoch: the discretization gap, and the largest eigenvalue of the Hessian."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import mlo
from applications.nas.formulations import ARCHITECTURE, ValidationLoss, validation_of
from applications.nas.learner import Learner
from applications.nas.methods import Progress
from applications.nas.seeded import seeded
from applications.nas.settings import SearchSettings
from applications.nas.space.cell import CellSpace
from applications.nas.space.genotype import Genotype
from applications.nas.together import Stream
from applications.nas.watch.eigenvalue import largest_eigenvalue

log = logging.getLogger("mlo.nas")
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Sight:
    """What was measured after an epoch; None for what was not.

    Attributes:
        gap: Validation loss of the cell that the mixture gives, in the supernet, minus that of the mixture.
        eigenvalue: The largest one of the validation loss's Hessian in the architecture variables.
    """

    gap: float | None = None
    eigenvalue: float | None = None


class Watch:
    """Measures a search from outside: weights, statistics, random numbers and places in the data stay as they are.

    Everything is measured at the present weights (for an interleaving, those of the last round), with the loss that the
    architecture minimizes, in the mode in which the search trains, on one batch of each task that stays the same.
    The Hessian is the direct one, as in R-DARTS: how the weights would respond to the architecture is not in it.

    Args:
        settings: Of the search.
        batches: One validation batch of each task, where the search computes.
    """

    def __init__(self, settings: SearchSettings, batches: Sequence[Batch]) -> None:
        """Keep the batches."""
        self._settings, self._batches = settings, tuple(batches)
        self._failed: set[str] = set()

    def look(
        self, engine: mlo.Engine, learners: Sequence[Learner], space: CellSpace, place: Progress, genotype: Genotype
    ) -> Sight:
        """Measure what the settings ask for.

        Args:
            engine: Holds the present values.
            learners: The tasks, in the order of the batches.
            space: What edges may hold.
            place: Where the search is.
            genotype: The cell that the architecture variables give.
        """
        asked = self._settings.watch
        due = asked.eigenvalue > 0 and (place.epoch + 1) % asked.eigenvalue == 0
        if not asked.gap and not due:
            return Sight()
        validation = validation_of(learners, self._settings.formulation)
        scene = _Scene(self._settings, validation, _networks(engine, validation), self._batches, place)
        variables = engine.export(ARCHITECTURE)
        gap = self._try("gap", lambda: scene.gap(variables, genotype, space)) if asked.gap else None
        return Sight(gap, self._try("eigenvalue", lambda: scene.eigenvalue(variables)) if due else None)

    def _try(self, what: str, measured: Callable[[], float]) -> float | None:
        """Return a number, or None where it cannot be had: what only watches never ends a search."""
        try:
            value = measured()
        except (mlo.MLOError, RuntimeError) as error:  # of torch: out of memory, or no second derivative
            if what not in self._failed:
                log.warning("watch: the %s cannot be measured (%s)", what, error)
            self._failed.add(what)
            return None
        return value if math.isfinite(value) else None


@dataclass(frozen=True, eq=False)
class _Scene:
    """A search at one moment."""

    settings: SearchSettings
    validation: ValidationLoss
    networks: Mapping[str, nn.Module]
    batches: tuple[Batch, ...]
    place: Progress

    def gap(self, variables: Mapping[str, Tensor], genotype: Genotype, space: CellSpace) -> float:
        method = self.settings.method
        with torch.no_grad():
            with self._same_draws():
                relaxed = method.relax(variables, self.place)
            discrete = {name: table.to(relaxed[name]) for name, table in method.discretize(genotype, space).items()}
            return float(self._loss(discrete)) - float(self._loss(relaxed))

    def eigenvalue(self, variables: Mapping[str, Tensor]) -> float:
        def loss(leaves: dict[str, Tensor]) -> Tensor:
            with self._same_draws():
                weights = self.settings.method.relax(leaves, self.place)
            return self._loss(weights)

        return largest_eigenvalue(loss, variables)

    def _same_draws(self) -> AbstractContextManager[None]:
        return seeded(0, self.batches[0][0].device)

    def _loss(self, weights: Mapping[str, Tensor]) -> Tensor:
        with self._same_draws():  # the same masks of dropout for both sides of a gap
            return self.validation(self.networks, weights, self.batches)


def first_batch(stream: Stream) -> Batch:
    """Return the batch that a stream would give next in a new epoch, and leave the stream where it is."""
    moves: Any = stream if hasattr(stream, "load_state_dict") else None
    state = moves.state_dict() if moves else None
    batch: Batch = next(iter(stream))
    if moves:
        moves.load_state_dict(state)
    return batch


def _networks(engine: mlo.Engine, validation: ValidationLoss) -> dict[str, nn.Module]:
    """Return copies of the networks that are validated: their statistics may move without harm."""
    found: dict[str, nn.Module] = {}
    for name in validation.answers.values():
        found[name] = engine.export(name).requires_grad_(False)
    return found
