"""How ranks share a search."""

from __future__ import annotations

from dataclasses import dataclass

from applications.nas.settings._check import check
from applications.nas.typed import check_types


@dataclass(frozen=True)
class ParallelSettings:
    """How the processes that `torchrun` starts share a search."""

    stages: int = 1
    """Ranks that share the stages of an interleaving; the others share the batches. 1: all share the batches, and
    without `torchrun` it must be 1."""
    sync_batch_norm: bool = False
    """Normalize by the statistics of the whole batch instead of each rank's share; takes the plain supernet."""

    def __post_init__(self) -> None:
        """Check the range."""
        check_types("parallel", self)
        check("parallel", self, self.stages >= 1, "stages must be at least 1")
