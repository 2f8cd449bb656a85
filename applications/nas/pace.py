"""How often a run may write checkpoints, so that these take no more than a share of its time."""

from __future__ import annotations

import time
from typing import final

import torch

from applications.nas.launch import Ranks


@final
class Pace:
    """Says when the next checkpoint within an epoch is due.

    The first one is due at once: what it costs is not known before.

    Args:
        share: At most this share of the time goes into checkpoints; with 1 one is due after every step.
        ranks: All of them must make the same calls; the first decides, since it writes.
    """

    def __init__(self, share: float, ranks: Ranks = Ranks()) -> None:
        """Start the clock."""
        self._ratio, self._ranks = 1.0 / share - 1.0, ranks  # of the time between two checkpoints to that of one
        self._since, self._cost = time.monotonic(), 0.0

    def due(self) -> bool:
        """Return whether to write one now; of several ranks all get the same answer."""
        now = time.monotonic() >= self._since + self._cost * self._ratio
        if self._ranks.world == 1 or self._ratio == 0:
            return now
        told = torch.tensor([int(now and self._ranks.first)])
        self._ranks.add(told)  # one number: much cheaper than what sends any object
        return bool(told)

    def took(self, seconds: float) -> None:
        """Say that one was written just now, and how long that took, for whatever reason it was."""
        self._since, self._cost = time.monotonic(), seconds
