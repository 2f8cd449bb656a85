"""Random states as values: captured, replayed, and put back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from mlo.errors import DataError


@dataclass(frozen=True)
class RandomState:
    """The states of the generators that a loss may draw from.

    Attributes:
        cpu: Of torch on the CPU.
        cuda: Of torch on each GPU; empty if CUDA was not in use.
        python: Of `random`.
        numpy: Of numpy's global generator.
    """

    cpu: Tensor
    cuda: tuple[Tensor, ...]
    python: tuple[Any, ...]
    numpy: dict[str, Any]

    @staticmethod
    def capture() -> RandomState:
        """Return the present state of every generator."""
        cuda = tuple(torch.cuda.get_rng_state_all()) if torch.cuda.is_initialized() else ()
        return RandomState(torch.get_rng_state(), cuda, random.getstate(), numpy.random.get_state(legacy=False))

    def restore(self) -> None:
        """Put every generator into this state; those of GPUs that are not here are left out.

        Raises:
            DataError: If numpy's global generator is of another kind now.
        """
        there, here = self.numpy["bit_generator"], _numpy_kind()
        if there != here:
            cure = f"set it first, numpy.random.set_bit_generator(numpy.random.{there}())"
            raise DataError(f"numpy's global generator is of the kind {here}, and was {there}: {cure}")
        torch.set_rng_state(self.cpu)
        cuda = self.cuda[: torch.cuda.device_count()] if self.cuda else ()
        if cuda:
            torch.cuda.set_rng_state_all(list(cuda))
        random.setstate(self.python)
        numpy.random.set_state(self.numpy)


def _numpy_kind() -> str:
    return str(numpy.random.get_state(legacy=False)["bit_generator"])


@contextmanager
def preserved() -> Iterator[None]:
    """Leave every generator as it was on entry, whatever the body draws and however it ends."""
    before = RandomState.capture()
    try:
        yield
    finally:
        before.restore()


@contextmanager
def replayed(state: RandomState) -> Iterator[None]:
    """Run the body from `state`, then put the generators back to where they were on entry."""
    with preserved():
        state.restore()
        yield


def drawn_seed() -> int:
    """Draw a seed from torch's generator."""
    return int(torch.randint(2**62, ()))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run the body with every generator begun from a seed, then put them back to where they were on entry."""
    with preserved():
        torch.manual_seed(seed)
        random.seed(seed)
        numpy.random.seed(seed % 2**32)
        yield
