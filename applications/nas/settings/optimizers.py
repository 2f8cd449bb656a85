"""How weights and architecture are optimized."""

from __future__ import annotations

from dataclasses import dataclass

from applications.nas.settings._check import LARGEST, check
from applications.nas.typed import check_types


@dataclass(frozen=True)
class WeightSettings:
    """SGD on the network weights, with cosine decay by epoch."""

    lr: float = 0.025
    """Learning rate of the first epoch."""
    min_lr: float = 0.001
    """Where the cosine ends, just after the last epoch."""
    momentum: float = 0.9
    """Share of the step before that is kept."""
    decay: float = 3e-4
    """Weight decay, added to the gradient."""
    clip: float = 5.0
    """Largest norm of a gradient."""
    warm_up: int = 0
    """Epochs in which the rate rises in equal steps, to lr in the last of them."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_types("weights", self)
        check("weights", self, 0 < self.lr <= LARGEST, "lr must be positive")
        check("weights", self, 0 <= self.min_lr <= self.lr, "min_lr must be from 0 to lr")
        check("weights", self, 0 <= self.momentum < 1, "momentum must be at least 0 and below 1")
        check("weights", self, 0 <= self.decay <= LARGEST, "decay must not be negative")
        check("weights", self, 0 < self.clip <= LARGEST, "clip must be positive (1e9 clips nothing)")
        check("weights", self, self.warm_up >= 0, "warm_up must not be negative")


@dataclass(frozen=True)
class ArchitectureSettings:
    """Adam on the architecture variables."""

    lr: float = 3e-4
    """Learning rate, the same throughout."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Share of the past in the means of the gradient and of its square."""
    decay: float = 1e-3
    """Weight decay, added to the gradient."""
    clip: float | None = None
    """Largest norm of the gradient; left out: any."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_types("architecture", self)
        fits = self.clip is None or 0 < self.clip <= LARGEST
        check("architecture", self, fits, "clip must be positive, or None")
        check("architecture", self, 0 < self.lr <= LARGEST, "lr must be positive")
        check("architecture", self, all(0 <= beta < 1 for beta in self.betas), "betas must be at least 0 and below 1")
        check("architecture", self, 0 <= self.decay <= LARGEST, "decay must not be negative")
