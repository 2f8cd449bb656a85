"""How often a run is kept on the way, and how many states of it."""

from __future__ import annotations

from dataclasses import dataclass

from applications.nas.settings._check import check


@dataclass(frozen=True)
class CheckpointSettings:
    """What a run keeps to go on from: after each epoch, when it is stopped, and in between."""

    share: float = 0.05
    """At most this share of the time goes into checkpoints within an epoch; 1 writes after every step."""
    keep: int = 2
    """How many are kept: if the last one is damaged, the run goes on from the one before."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check("checkpoint", self, 0 < self.share <= 1, "share must be above 0 and at most 1")
        check("checkpoint", self, self.keep >= 1, "keep must be at least 1")
