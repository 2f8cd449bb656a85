"""The optimizers of a search, from their settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torchopt

import mlo
from applications.nas.settings import ArchitectureSettings, WeightSettings


def sgd(settings: WeightSettings, rate: Callable[[Any], float]) -> Any:
    """Return clipped SGD with momentum and weight decay; unrolled as it is, clipping included."""
    inner = torchopt.sgd(rate, momentum=settings.momentum, weight_decay=settings.decay)
    return torchopt.chain(mlo.clip_norm(settings.clip), inner)


def adam(settings: ArchitectureSettings) -> Any:
    """Return Adam for the architecture variables, clipped if the settings say so."""
    inner = torchopt.adam(settings.lr, betas=settings.betas, weight_decay=settings.decay)
    return inner if settings.clip is None else torchopt.chain(mlo.clip_norm(settings.clip), inner)


def cosine(settings: WeightSettings, epochs: int, steps_per_epoch: int) -> Callable[[Any], float]:
    """Return the learning rate min + (base - min) (1 + cos(pi e / E)) / 2 of epoch e, by number of updates made.

    In an epoch e of the warm-up it is base (e + 1) / (epochs of the warm-up).
    """

    def rate(count: Any) -> float:
        epoch = min(int(count) // steps_per_epoch, epochs)
        if epoch < settings.warm_up:
            return settings.lr * (epoch + 1) / settings.warm_up
        return settings.min_lr + (settings.lr - settings.min_lr) * (1 + math.cos(math.pi * epoch / epochs)) / 2

    return rate
