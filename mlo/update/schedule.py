"""The settings of an optimizer as a function of the number of updates made, read off a torch scheduler."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mlo.errors import ConfigError, GraphError
from mlo.update.recipe import Settings


class Schedule:
    """Steps a private copy of a scheduler as far as it is asked for, and remembers.

    Args:
        owner: The problem's name.
        scheduler: The user's; it is not changed. Where it stands now is where counting starts.

    Raises:
        GraphError: If its steps need more than their number.
    """

    def __init__(self, owner: str, scheduler: LRScheduler) -> None:
        """Copy the scheduler and the settings, not the parameters."""
        self._owner, self._name = owner, type(scheduler).__name__
        _check_no_metric(owner, scheduler)
        optimizer = scheduler.optimizer
        self._stand_in = _without_parameters(optimizer)
        self._scheduler = copy.deepcopy(scheduler, {id(optimizer): self._stand_in})
        self._first = self._look()
        self._seen: list[tuple[Settings, ...]] = [tuple({} for _ in self._first)]

    def at(self, count: int) -> Sequence[Settings]:
        """Return the settings of each group after `count` updates.

        Raises:
            ConfigError: If the scheduler ends before.
        """
        while len(self._seen) <= count:
            self._step()
            now = zip(self._first, self._look(), strict=True)
            self._seen.append(tuple({k: v for k, v in new.items() if v is not old.get(k)} for old, new in now))
        changed = zip(self._first, self._seen[count], strict=True)
        return tuple({**first, **differing} for first, differing in changed)

    def _step(self) -> None:
        made = len(self._seen)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the order of calls, which is right by construction
                self._scheduler.step()
        except ValueError as error:
            what = f"problem {self._owner!r}: its scheduler {self._name} has no step {made}"
            raise ConfigError(f"{what} ({error}): make it longer, or make fewer updates") from error

    def _look(self) -> tuple[Settings, ...]:
        groups: list[Settings] = self._stand_in.param_groups
        return tuple({key: _copied(value) for key, value in group.items() if key != "params"} for group in groups)


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _without_parameters(optimizer: Optimizer) -> Optimizer:
    """Return an optimizer with the same settings and no more than a number for each group of parameters."""
    stand_in: Optimizer = object.__new__(type(optimizer))
    held = {key: value for key, value in optimizer.__dict__.items() if key not in ("state", "param_groups", "step")}
    stand_in.__dict__.update(held)
    groups = [
        {**{key: _copied(value) for key, value in group.items() if key != "param_names"}, "params": [torch.zeros(())]}
        for group in optimizer.param_groups
    ]
    stand_in.param_groups, stand_in.state = groups, defaultdict(dict)
    return stand_in


def _check_no_metric(owner: str, scheduler: Any) -> None:
    """Refuse a scheduler, or one inside of it, whose step takes an argument."""
    needed = [
        parameter.name
        for parameter in inspect.signature(type(scheduler).step).parameters.values()
        if parameter.name != "self" and parameter.default is inspect.Parameter.empty
    ]
    if needed:
        what = f"problem {owner!r}: a step of {type(scheduler).__name__} needs {needed[0]!r}, which an update has not"
        raise GraphError(f"{what}: use one whose steps only count, such as torch.optim.lr_scheduler.CosineAnnealingLR")
    for inner in getattr(scheduler, "_schedulers", ()):
        _check_no_metric(owner, inner)
