"""A task as a search sees it, and how its network is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from applications.nas.together import Stream

Loss = Callable[[Tensor, Tensor], Tensor]
Call = Callable[[Any, Tensor, Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True, eq=False)
class Learner:
    """A task as a search sees it.

    Attributes:
        name: The task's name; also the name of the problem that trains the weights.
        network: A supernet; its `encoder.` parameters can be tied across learners.
        train: Batches that the weights are trained on; like `valid` anything with a length that can be read again.
        valid: Batches that the architecture is trained on.
        loss: (prediction, target) -> scalar.
        weight: Of its validation loss.
    """

    name: str
    network: nn.Module
    train: Stream
    valid: Stream
    loss: Loss = cross_entropy
    weight: float = 1.0


def caller(*, compiled: bool) -> Call:
    """Return what calls a network on images at mixing weights.

    Args:
        compiled: Whether by `torch.compile`: the network alone, for what is around it changes from epoch to epoch.
    """

    def call(network: Any, x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        out: Tensor = network(x, weights)
        return out

    return torch.compile(call) if compiled else call
