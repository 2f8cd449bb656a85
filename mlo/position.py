"""Where a process is in its batches and in its random numbers, as a value that can be kept and gone back to."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any

import torch
from torch import Tensor

from mlo.errors import DataError
from mlo.rng import RandomState

_STARTS = count()


@dataclass(frozen=True, eq=False)
class PassStart:
    """What decides a pass over batches, taken before it began.

    Attributes:
        order: A number that grows from one to the next in a process.
        saved: What `state_dict` of the batches returned; None if they have none.
        generators: The states of the generators that a DataLoader has.
        chance: The global generators; None if the batches are a list, which draws nothing.
    """

    order: int
    saved: Any
    generators: tuple[Tensor, ...]
    chance: RandomState | None

    @staticmethod
    def of(batches: Iterable[Any]) -> PassStart:
        """Return what decides a pass that begins now."""
        chance = None if isinstance(batches, Sequence) else RandomState.capture()
        return replace(PassStart.own(batches), chance=chance)

    @staticmethod
    def own(batches: Iterable[Any]) -> PassStart:
        """Return the same without the global generators."""
        saved = copy.deepcopy(batches.state_dict()) if _saves(batches) else None  # type: ignore[attr-defined]
        states = tuple(generator.get_state() for generator in _generators(batches))
        return PassStart(next(_STARTS), saved, states, None)

    def put_back(self, batches: Iterable[Any]) -> None:
        """Let the next pass over batches be the one that began here."""
        self.put_back_own(batches)
        if self.chance is not None:
            self.chance.restore()

    def put_back_own(self, batches: Iterable[Any]) -> None:
        """Put back what batches have of their own; the global generators stay as they are."""
        self.put_back_generators(batches)
        if _saves(batches):
            batches.load_state_dict(copy.deepcopy(self.saved))  # type: ignore[attr-defined]

    def put_back_generators(self, batches: Iterable[Any]) -> None:
        """Put back the generators of batches; nothing if they have another number of them than there were."""
        generators = _generators(batches)
        if len(generators) == len(self.generators):
            for generator, state in zip(generators, self.generators, strict=True):
                generator.set_state(state)

    def again(self) -> PassStart:
        """Return the same as of the pass that began last."""
        return replace(self, order=next(_STARTS))


@dataclass(frozen=True, eq=False)
class FeedPosition:
    """Where a problem is in its batches.

    Attributes:
        passes: How many passes have ended.
        drawn: Batches drawn of this one.
        start: What decides this pass; None between two passes.
        now: What would decide a pass that began now, but for the global generators.
    """

    passes: int
    drawn: int
    start: PassStart | None
    now: PassStart


@dataclass(frozen=True, eq=False)
class Position:
    """Where a process is.

    Attributes:
        feeds: In its batches, by problem; without those that have none.
        chance: In its random numbers.
    """

    feeds: dict[str, FeedPosition]
    chance: RandomState


def resumed(name: str, batches: Iterable[Any], drawn: int) -> Iterator[Any]:
    """Begin a pass, and leave out the batches that were drawn of it.

    Batches with a method `start_at(count)` begin there themselves, without the work of those before; of others, these
    are read and dropped.

    Raises:
        DataError: If there are fewer; the message names the problem.
    """
    if drawn and hasattr(batches, "start_at"):
        found: Iterator[Any] = iter(batches.start_at(drawn))
        return found
    iterator = iter(batches)
    skip(name, iterator, drawn)
    return iterator


def skip(name: str, iterator: Iterator[Any], many: int) -> None:
    """Read batches and drop them.

    Raises:
        DataError: If there are fewer; the message names the problem.
    """
    found = sum(1 for _ in islice(iterator, many))
    if found < many:
        cure = "give the same batches as when it was saved, or restore with place=False"
        raise DataError(f"problem {name!r}: {many} of its batches were drawn, and there are {found}: {cure}")


def _generators(batches: Iterable[Any]) -> list[torch.Generator]:
    in_batches = getattr(batches, "batch_sampler", None)
    holders = (batches, getattr(batches, "sampler", None), in_batches, getattr(in_batches, "sampler", None))
    found = (getattr(holder, "generator", None) for holder in holders)
    return [generator for generator in found if isinstance(generator, torch.Generator)]


def _saves(batches: Iterable[Any]) -> bool:
    return hasattr(batches, "state_dict") and hasattr(batches, "load_state_dict")
