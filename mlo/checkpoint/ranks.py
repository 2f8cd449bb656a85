"""Ranks that save and restore together: one outcome for all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

from mlo.errors import DataError, RankError
from mlo.parallel import AbstractRanks, Alone

T = TypeVar("T")


class Ranks:
    """The ranks that an engine shares its work with: all of torch.distributed, or none but this one.

    Attributes:
        rank: Which one this is.
        size: How many there are.
    """

    def __init__(self, parallel: AbstractRanks) -> None:
        """Look how many there are; `parallel`: what the engine has."""
        alone = isinstance(parallel, Alone)
        self.rank, self.size = (0, 1) if alone else (dist.get_rank(), dist.get_world_size())

    def gathered(self, content: Any) -> list[Any]:
        """Return what each rank gave, plain data, in their order.

        Raises:
            RankError: If a rank has ended.
        """
        if self.size == 1:
            return [content]
        found: list[Any] = [None] * self.size
        try:
            dist.all_gather_object(found, json.dumps(content))
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            cure = "look at the output of the other ranks, and begin again from a checkpoint"
            raise RankError(f"rank {self.rank} lost the connection to another rank ({reason}): {cure}") from error
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
