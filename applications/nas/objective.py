"""What a task asks of a network: the form of its prediction, a loss, and the number that reports give."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, mse_loss

from mlo import ConfigError, DataError


class AbstractObjective(ABC):
    """The side of a task that a network sees; everything before the head is the same for all tasks."""

    @property
    @abstractmethod
    def metric(self) -> str:
        """Name of the number that reports give, with its unit; smaller is better."""

    @abstractmethod
    def check(self, targets: Tensor) -> None:
        """Refuse targets that it cannot be asked of, (N, ...); raises DataError."""

    @abstractmethod
    def head(self, channels: int) -> nn.Module:
        """Return a module from features (B, channels, h, w) to predictions."""

    @abstractmethod
    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the scalar that is minimized: a mean over the batch."""

    @abstractmethod
    def penalty(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return one number for each example, (B,), whose mean over a data set gives the metric."""

    @abstractmethod
    def score(self, penalty: float) -> float:
        """Return the metric from the mean penalty."""


class PooledLinear(nn.Linear):
    """A linear layer behind a mean over all pixels."""

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, channels, h, w) to (B, outputs)."""
        return super().forward(features.mean(dim=(2, 3)))


@dataclass(frozen=True)
class Classification(AbstractObjective):
    """One of several classes; the metric is the share of wrong ones in percent.

    Attributes:
        classes: How many.
        smoothing: Share of the target that is spread evenly over all classes in the loss (label smoothing).
    """

    classes: int
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.classes < 1:
            raise ConfigError(f"classes={self.classes}: must be positive")
        if not 0 <= self.smoothing < 1:
            raise ConfigError(f"smoothing={self.smoothing}: must be at least 0 and below 1")

    @property
    def metric(self) -> str:
        """The metric's name."""
        return "error %"

    def check(self, targets: Tensor) -> None:
        """Take labels (N,) int64 from 0 to classes - 1."""
        if targets.dtype != torch.int64 or targets.ndim != 1:
            raise DataError(f"labels {_form(targets)} are no classes: give (N,) int64, or another objective")
        if not 0 <= int(targets.min()) <= int(targets.max()) < self.classes:
            worst = int(targets.max()) if int(targets.min()) >= 0 else int(targets.min())
            raise DataError(f"label {worst} but {self.classes} classes: name every class")

    def head(self, channels: int) -> nn.Module:
        """Mean over all pixels, then a linear layer."""
        return PooledLinear(channels, self.classes)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of logits (B, classes) and labels (B,) int64."""
        return cross_entropy(prediction, target, label_smoothing=self.smoothing)

    def penalty(self, prediction: Tensor, target: Tensor) -> Tensor:
        """1 where the largest logit is not that of the label, else 0."""
        return (prediction.argmax(dim=1) != target).to(torch.float64)

    def score(self, penalty: float) -> float:
        """Percent."""
        return 100.0 * penalty


class SquaredError(AbstractObjective):
    """Real numbers; the metric is the root of the mean squared error."""

    @property
    def metric(self) -> str:
        """The metric's name."""
        return "RMSE"

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean squared error; a target of as many numbers takes the shape of the prediction."""
        return mse_loss(prediction, target.reshape_as(prediction))

    def penalty(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean squared error of each example."""
        return (prediction - target.reshape_as(prediction)).double().square().flatten(1).mean(dim=1)

    def score(self, penalty: float) -> float:
        """Root of the mean."""
        return math.sqrt(penalty)


@dataclass(frozen=True)
class Regression(SquaredError):
    """Real numbers for each image.

    Attributes:
        outputs: How many for each image.
    """

    outputs: int = 1

    def __post_init__(self) -> None:
        """Check the range."""
        if self.outputs < 1:
            raise ConfigError(f"outputs={self.outputs}: must be positive")

    def check(self, targets: Tensor) -> None:
        """Take floating point targets (N, outputs), or (N,) for one output."""
        fits = targets.shape[1:] == (self.outputs,) or (targets.ndim == 1 and self.outputs == 1)
        if not (fits and targets.is_floating_point()):
            form = f"give floating point (N, {self.outputs}), or change outputs"
            raise DataError(f"labels {_form(targets)} for {self.outputs} outputs: {form}")

    def head(self, channels: int) -> nn.Module:
        """Mean over all pixels, then a linear layer."""
        return PooledLinear(channels, self.outputs)


class Upsampled(nn.Module):
    """A 1x1 convolution whose result is brought to the size of the image by bilinear interpolation."""

    def __init__(self, channels: int, outputs: int, size: tuple[int, int]) -> None:
        """Build the convolution."""
        super().__init__()
        self.size = size
        self.map = nn.Conv2d(channels, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, channels, h, w) to (B, outputs, *size)."""
        return interpolate(self.map(features), size=self.size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class DensePrediction(SquaredError):
    """Real numbers for each pixel.

    Attributes:
        outputs: How many for each pixel.
        size: Height and width of the target.
    """

    outputs: int
    size: tuple[int, int]

    def __post_init__(self) -> None:
        """Check the ranges."""
        if min(self.outputs, *self.size) < 1:
            raise ConfigError(f"outputs={self.outputs}, size={self.size}: must be positive")

    def check(self, targets: Tensor) -> None:
        """Take floating point targets (N, outputs, *size)."""
        if targets.shape[1:] != (self.outputs, *self.size) or not targets.is_floating_point():
            form = f"(N, {self.outputs}, {self.size[0]}, {self.size[1]})"
            raise DataError(f"labels {_form(targets)} for dense prediction: give floating point {form}")

    def head(self, channels: int) -> nn.Module:
        """A linear map of each place, enlarged to the target's size."""
        return Upsampled(channels, self.outputs, self.size)


def _form(targets: Tensor) -> str:
    return f"of shape {tuple(targets.shape)} and type {str(targets.dtype).removeprefix('torch.')}"


def as_objective(objective: AbstractObjective | int) -> AbstractObjective:
    """Return an objective; a number of classes stands for a classification."""
    return Classification(objective) if isinstance(objective, int) else objective
