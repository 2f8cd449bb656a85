"""The learning rate of each epoch of a retraining."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal, final

import tyro

from applications.nas.settings._check import check
from applications.nas.typed import check_types


class AbstractSchedule(ABC):
    """A learning rate for each epoch, the same throughout the epoch."""

    @abstractmethod
    def lr(self, epoch: int, epochs: int, base: float) -> float:
        """Return the learning rate of an epoch.

        Args:
            epoch: Number of the epoch, from 0.
            epochs: How many there are.
            base: Learning rate from which the schedule starts.
        """

    @abstractmethod
    def check(self, epochs: int, base: float) -> None:
        """Raise `ConfigError` if the schedule does not fit the number of epochs or the first learning rate."""


@final
@dataclass(frozen=True)
class CosineSchedule(AbstractSchedule):
    """Half a period of a cosine; its end is reached just after the last epoch.

    Source: "SGDR: Stochastic Gradient Descent with Warm Restarts", Loshchilov, Hutter, 2017.
    """

    min_lr: float = 0.0
    """Where the cosine ends."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_types("schedule", self)

    def lr(self, epoch: int, epochs: int, base: float) -> float:
        """min_lr + (base - min_lr) (1 + cos(pi epoch / epochs)) / 2."""
        return self.min_lr + (base - self.min_lr) * (1 + math.cos(math.pi * epoch / epochs)) / 2

    def check(self, epochs: int, base: float) -> None:
        """The end must not be above the start."""
        check("schedule", self, 0 <= self.min_lr <= base, f"min_lr must be from 0 to weights.lr={base}")


@final
@dataclass(frozen=True)
class LinearSchedule(AbstractSchedule):
    """A straight line down to a slower last piece, with or without a warm-up.

    Source: the programs of "Progressive Differentiable Architecture Search: Bridging the Depth Gap between Search and
    Evaluation", Chen, Xie, Wu, Tian, 2019, and of "PC-DARTS: Partial Channel Connections for Memory-Efficient
    Architecture Search", Xu, Xie, Zhang, Chen, Qi, Tian, Xiong, 2020. Both warm up only if the batch is above 256.
    """

    tail: int = 5
    """Epochs of the last piece, which begins where the line has come to base / (epochs - tail)."""
    warm_up: Literal["none", "pdarts", "pcdarts"] = "none"
    """In the first epochs: nothing; (epoch + 1) / warm_up_epochs of the line; or of the first learning rate."""
    warm_up_epochs: int = 5
    """Epochs of the warm-up."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_types("schedule", self)

    def lr(self, epoch: int, epochs: int, base: float) -> float:
        """The line, or what the warm-up makes of it."""
        share = (epoch + 1) / self.warm_up_epochs if epoch < self.warm_up_epochs else 1.0
        if self.warm_up == "pcdarts" and epoch < self.warm_up_epochs:
            return base * share
        line = self._line(epoch, epochs, base)
        return line * share if self.warm_up == "pdarts" else line

    def check(self, epochs: int, base: float) -> None:
        """There must be an epoch before the last piece."""
        check("schedule", self, 0 <= self.tail < epochs, f"tail must be at least 0 and below epochs={epochs}")
        check("schedule", self, self.warm_up_epochs >= 1, "warm_up_epochs must be at least 1")

    def _line(self, epoch: int, epochs: int, base: float) -> float:
        left, body = epochs - epoch, epochs - self.tail
        return base * (left - self.tail) / body if left > self.tail else base * left / (body * self.tail)


@final
@dataclass(frozen=True)
class ExponentialSchedule(AbstractSchedule):
    """The same factor after every epoch.

    Source: "DARTS: Differentiable Architecture Search", Liu, Simonyan, Yang, 2019, on ImageNet.
    """

    factor: float = 0.97
    """What the learning rate is multiplied by after each epoch."""

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_types("schedule", self)

    def lr(self, epoch: int, epochs: int, base: float) -> float:
        """Base * factor ** epoch."""
        return base * self.factor**epoch

    def check(self, epochs: int, base: float) -> None:
        """The factor must be positive, and not make the learning rate grow."""
        check("schedule", self, 0 < self.factor <= 1, "factor must be above 0 and at most 1")


Schedule = (
    Annotated[CosineSchedule, tyro.conf.subcommand("cosine")]
    | Annotated[LinearSchedule, tyro.conf.subcommand("linear")]
    | Annotated[ExponentialSchedule, tyro.conf.subcommand("exponential")]
)
