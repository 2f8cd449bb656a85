"""A retraining."""

from __future__ import annotations

from dataclasses import dataclass, field

from applications.nas.settings._check import LARGEST, LARGEST_SEED, check
from applications.nas.settings.device import Device
from applications.nas.settings.optimizers import WeightSettings


@dataclass(frozen=True)
class RetrainSettings:
    """Training of a found architecture from scratch, on train and valid together; tested once at the end."""

    channels: int = 36
    layers: int = 20
    epochs: int = 600
    batch: int = 96
    weights: WeightSettings = field(default_factory=lambda: WeightSettings(min_lr=0.0))
    auxiliary: bool = False
    """Train with the auxiliary head (needs 32x32 images)."""
    auxiliary_weight: float = 0.4
    drop_path: float = 0.0
    """Rate of drop path at the end; rises linearly from 0."""
    cutout: int = 0
    """Side of the square that is cut out of each training image; 0 for none."""
    seeds: tuple[int, ...] = (0,)
    """One training each: the error is reported as mean and standard deviation over them."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check("retrain", self, self.epochs >= 1, "epochs must be at least 1")
        check("retrain", self, self.batch >= 2, "batch must be at least 2, for BatchNorm")
        check("retrain", self, 0 <= self.drop_path < 1, "drop_path must be at least 0 and below 1")
        check("retrain", self, 0 <= self.auxiliary_weight <= LARGEST, "auxiliary_weight must not be negative")
        check("retrain", self, 0 < len(self.seeds) == len(set(self.seeds)), "seeds must be distinct, at least one")
        fits = all(0 <= seed <= LARGEST_SEED for seed in self.seeds)
        check("retrain", self, fits, f"seeds must be from 0 to {LARGEST_SEED}")
