"""Which ranks share the loss that is being evaluated, for what takes part in it deep inside, such as a layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from mlo.parallel.base import AbstractRanks, Alone

_PRESENT: ContextVar[tuple[AbstractRanks, float]] = ContextVar("mlo_ranks", default=(Alone(), 1.0))


@contextmanager
def evaluating(ranks: AbstractRanks, factor: float) -> Iterator[None]:
    """Let the body's layers know who shares its loss, and what this rank's part of it is multiplied by."""
    if ranks.replicas == 1:
        yield
        return
    token = _PRESENT.set((ranks, factor))
    try:
        yield
    finally:
        _PRESENT.reset(token)


def present() -> tuple[AbstractRanks, float]:
    """Return the ranks that share the loss that is being evaluated, and the factor; one alone outside of a loss."""
    return _PRESENT.get()
