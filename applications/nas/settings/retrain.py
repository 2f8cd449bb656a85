"""A retraining."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from applications.nas.settings._check import LARGEST, LARGEST_SEED, MOST_EPOCHS, check
from applications.nas.settings.checkpoint import CheckpointSettings
from applications.nas.settings.data import Data, DigitsData
from applications.nas.settings.device import Device
from applications.nas.settings.network import CifarForm, NetworkForm, TorchvisionForm
from applications.nas.settings.schedule import CosineSchedule, Schedule
from applications.nas.typed import check_types


@dataclass(frozen=True)
class RetrainWeights:
    """SGD on the network weights; `schedule` makes a learning rate for each epoch from the first one."""

    lr: float = 0.025
    """Learning rate from which the schedule starts."""
    momentum: float = 0.9
    """Share of the step before that is kept."""
    decay: float = 3e-4
    """Weight decay, added to the gradient."""
    clip: float = 5.0
    """Largest norm of a gradient."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_types("weights", self)
        check("weights", self, 0 < self.lr <= LARGEST, "lr must be positive")
        check("weights", self, 0 <= self.momentum < 1, "momentum must be at least 0 and below 1")
        check("weights", self, 0 <= self.decay <= LARGEST, "decay must not be negative")
        check("weights", self, 0 < self.clip <= LARGEST, "clip must be positive (1e9 clips nothing)")


@dataclass(frozen=True)
class RetrainSettings:
    """Training of a found architecture from scratch, on train and valid together; tested once at the end."""

    network: Annotated[NetworkForm, tyro.conf.arg(name="")] = field(default_factory=CifarForm)
    schedule: Schedule = field(default_factory=CosineSchedule)
    weights: RetrainWeights = field(default_factory=RetrainWeights)
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    epochs: int = 600
    """Passes over the training part and the validation part together."""
    batch: int = 96
    """Images in a batch, of all ranks together."""
    accumulate: int = 1
    """Pieces of a batch, or of a rank's share of it, that are computed one after the other, their gradients averaged:
    less memory at a time. BatchNorm sees one piece, as it would with as many GPUs."""
    sync_batch_norm: bool = False
    """Let BatchNorm see the whole batch when torchrun splits it over GPUs; off, each rank has statistics of its own
    share, and what is tested is their mean."""
    auxiliary_weight: float = 0.4
    """Weight of the auxiliary head's loss."""
    drop_path: float = 0.0
    """Rate of drop path at the end; rises linearly from 0."""
    cutout: int = 0
    """Side of the square that is cut out of each training image; 0 for none."""
    smoothing: float = 0.0
    """Share of a label that is spread evenly over all classes (label smoothing), in training only."""
    ema: float | None = None
    """Test an exponential moving average of the weights (share of the past, such as 0.999); left out: the last."""
    seeds: tuple[int, ...] = (0,)
    """One training each: the error is reported as mean and standard deviation over them."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU if there is one."""
    deterministic: bool = False
    """Give the same bits each time on a GPU, too, which is slower; a CPU does so in any case."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_types("retrain", self)
        check("retrain", self, self.epochs >= 1, "epochs must be at least 1")
        check("retrain", self, self.epochs <= MOST_EPOCHS, f"epochs must be at most {MOST_EPOCHS}")
        check("retrain", self, self.batch >= 2, "batch must be at least 2, for BatchNorm")
        check("retrain", self, self.accumulate >= 1, "accumulate must be at least 1")
        check("retrain", self, 0 <= self.drop_path < 1, "drop_path must be at least 0 and below 1")
        made = isinstance(self.network, TorchvisionForm)
        check("retrain", self, not made or self.drop_path == 0, "drop_path must be 0 for a network of torchvision")
        check("retrain", self, 0 <= self.auxiliary_weight <= LARGEST, "auxiliary_weight must not be negative")
        check("retrain", self, 0 <= self.smoothing < 1, "smoothing must be at least 0 and below 1")
        check("retrain", self, self.ema is None or 0 < self.ema < 1, "ema must be above 0 and below 1")
        check("retrain", self, 0 < len(self.seeds) == len(set(self.seeds)), "seeds must be distinct, at least one")
        fits = all(0 <= seed <= LARGEST_SEED for seed in self.seeds)
        check("retrain", self, fits, f"seeds must be from 0 to {LARGEST_SEED}")
        self.schedule.check(self.epochs, self.weights.lr)


@dataclass(frozen=True)
class RetrainData:
    """What a retraining learned: kept in its folder, so that it can be tested again."""

    data: Data = field(default_factory=DigitsData)
    seed: int = 0
    """Of the split."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_types("data", self)
