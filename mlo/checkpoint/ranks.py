"""Ranks that save and restore together: one outcome for all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

from mlo.errors import DataError

T = TypeVar("T")


class Ranks:
    """All ranks of torch.distributed, or one process for itself.

    Attributes:
        rank: Which one this is.
        size: How many there are.
    """

    def __init__(self, *, alone: bool) -> None:
        """Look how many there are; `alone`: act as if there were this one only."""
        together = not alone and dist.is_available() and dist.is_initialized()
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)

    def gathered(self, content: Any) -> list[Any]:
        """Return what each rank gave, plain data, in their order."""
        if self.size == 1:
            return [content]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, json.dumps(content))
        return [json.loads(text) for text in found]

    def agreed(self, work: Callable[[], T]) -> T:
        """Do something on each rank, and fail on all if it fails on one.

        Raises:
            DataError: If it fails on another rank, which is named; an error of this rank is raised as it is.
        """
        result, error = None, None
        try:
            result = work()
        except Exception as found:
            error = found
        outcomes = self.gathered(None if error is None else " ".join(str(error).split()) or type(error).__name__)
        if error is not None:
            raise error
        failed = next((rank for rank, outcome in enumerate(outcomes) if outcome is not None), None)
        if failed is not None:
            raise DataError(f"rank {failed}: {outcomes[failed]}")
        return result  # type: ignore[return-value]
